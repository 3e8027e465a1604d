"""The stage kind `vision.evaluate`: a checkpoint scored on a split."""

import numpy as np
import torch

from pipeline.errors import ConfigError, Preempted
from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from stages.vision.checkpoint import load_network
from stages.vision.classify import scoring
from stages.vision.classify.config import EvaluateConfig
from stages.vision.classify.prediction import open_split, predict, write_predictions
from stages.vision.images.batches import ImageReader


def run(ctx: StageContext[EvaluateConfig]) -> None:
    """Writes scores, a line for each image, and the pictures of the report.

    Raises:
        ConfigError: the classes of the checkpoint are not those of the images.
        DataError: the split is missing or without labels, or an image is broken.
        InputError: the checkpoint is damaged.
        Preempted: asked to stop.
    """
    config = ctx.config
    network, shape = load_network(ctx.input("checkpoint"))
    shards = open_split(ctx.input("shards"), config.evaluate_on)
    if shards.class_names != shape.classes:
        msg = f"the checkpoint tells {_some(shape.classes)}, the images are {_some(shards.class_names)}"
        raise ConfigError(msg)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    changes = {"size": config.size, "crop_fraction": config.crop_fraction}
    frame = shape.frame.model_copy(update={k: v for k, v in changes.items() if v is not None})
    reader = ImageReader(shards, frame, threads=ctx.threads)

    def stop_where_asked(*_: object) -> None:
        if ctx.should_stop():
            msg = "asked to stop while evaluating; the stage begins anew"
            raise Preempted(msg)

    network.to(device).register_forward_pre_hook(stop_where_asked)
    size = config.evaluation_batch_size
    images = np.arange(len(shards))
    try:
        with torch.inference_mode():
            num_forwards = -(-len(images) // size)
            found = predict(network, reader, images, num_forwards=num_forwards, size=size)
    finally:
        reader.close()
    scores = scoring.scores(found.probs, shards.labels)
    for name, value in scores.items():
        ctx.recorder.scalar(labelled(names.EVAL_SCORE, score=name), value, 0)
    write_scores(ctx.outputs["scores"], scores)
    write_predictions(ctx.outputs["predictions"], shards, found.probs)
    for picture in scoring.pictures(found.probs, shards.labels, shards.class_names):
        ctx.recorder.show(picture, 0)


def _some(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}, ...)"
