"""The stage kind `vision.classify`."""

import io

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from pipeline.training.loop import train
from pipeline.training.world import TrainingWorld, open_world
from stages.vision.checkpoint import write_shape
from stages.vision.classify import scoring
from stages.vision.classify.classification import Classification
from stages.vision.classify.config import ClassifyConfig
from stages.vision.classify.prediction import write_predictions


def run(ctx: StageContext[ClassifyConfig]) -> None:
    """Trains, then writes the checkpoint, the scores and a line for each held-out image.

    Raises:
        DataError: a split is missing or without labels, or an image is broken.
        InputError: a checkpoint or weights are damaged, or of another network.
        Preempted, Diverged: as `pipeline.training.loop.train`.
    """
    inputs = {port: ctx.input(port) for port in ctx.inputs}
    method = Classification(ctx.config, inputs, place=ctx.world, seed=ctx.seed, threads=ctx.threads)
    try:
        folder = ctx.outputs["checkpoint"]
        with open_world(ctx.world, threads=ctx.threads) as world:
            result = train(method, ctx.config.train, ctx, rule=method.rule(), output=folder)
            probs = _gathered(method, world)
    finally:
        method.close()
    if ctx.world.rank == 0:
        labels = method.held_out.labels
        found = scoring.scores(probs, labels)
        for name in ("top5_accuracy", "ece"):
            ctx.recorder.scalar(labelled(names.EVAL_SCORE, score=name), found[name], result.step)
        write_shape(folder, method.shape)
        write_scores(ctx.outputs["scores"], found)
        write_predictions(ctx.outputs["predictions"], method.held_out, probs)
        for picture in scoring.pictures(probs, labels, method.class_names):
            ctx.recorder.show(picture, result.step)


def _gathered(method: Classification, world: TrainingWorld) -> NDArray[np.float32]:
    """(images, classes) predictions of all ranks in the order of the split."""
    mine = method.predictions
    assert mine is not None  # training ends with an evaluation
    buffer = io.BytesIO()
    np.savez(buffer, images=mine.images, probs=mine.probs)
    probs = np.zeros((len(method.held_out), mine.probs.shape[1]), np.float32)
    for part in world.gather_bytes(buffer.getvalue()):
        arrays = np.load(io.BytesIO(part), allow_pickle=False)
        probs[arrays["images"]] = arrays["probs"]
    return probs
