"""The stage kind `xlnet.classify`."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.metrics.pictures import Heatmap
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from pipeline.storage.files import replace_file
from pipeline.training.loop import train
from pipeline.training.world import TrainingWorld, open_world
from stages.xlnet.checkpoint import write_shape
from stages.xlnet.classification import Classification
from stages.xlnet.config import ClassifyConfig
from stages.xlnet.rules import layer_wise_rule

PREDICTIONS_FILE = "predictions.jsonl"


class Line(BaseModel):
    """One line of predictions.jsonl.

    Attributes:
        document: its place in the held-out split.
        label: its class.
        predicted: the class found most probable.
        probs: class -> probability, to six digits.
    """

    model_config = ConfigDict(frozen=True)

    document: int
    label: str
    predicted: str
    probs: dict[str, float]


def run(ctx: StageContext[ClassifyConfig]) -> None:
    """Finetunes, then writes the checkpoint, the scores and a line for each held-out document.

    Raises:
        DataError: a split is missing or empty, or a shard is damaged.
        InputError: the checkpoint is damaged.
        ConfigError: the shards or the checkpoint belong to another tokenizer.
        Preempted, Diverged: as `pipeline.training.loop.train`.
    """
    inputs = {port: ctx.input(port) for port in ctx.inputs}
    method = Classification(ctx.config, inputs, place=ctx.world, seed=ctx.seed)
    folder = ctx.outputs["checkpoint"]
    rule = layer_wise_rule(method.shape.model.num_layers, ctx.config.layer_decay)
    with open_world(ctx.world, threads=ctx.threads) as world:
        result = train(method, ctx.config.train, ctx, rule=rule, output=folder)
        found = _gather(method, world)
    if ctx.world.rank == 0:
        scores = dict(result.scores) | {"majority_accuracy": method.majority_accuracy()}
        name = labelled(names.EVAL_SCORE, score="majority_accuracy")
        ctx.recorder.scalar(name, scores["majority_accuracy"], result.step)
        write_shape(folder, method.shape)
        write_scores(ctx.outputs["scores"], scores)
        text = "".join(f"{line.model_dump_json()}\n" for line in found)
        replace_file(ctx.outputs["predictions"] / PREDICTIONS_FILE, text.encode())
        ctx.recorder.show(_confusion(method.class_names, found), result.step)


def _gather(method: Classification, world: TrainingWorld) -> list[Line]:
    """All ranks' predictions in the order of the documents."""
    mine = "\n".join(line.model_dump_json() for line in _lines(method)).encode()
    found = {
        line.document: line
        for part in world.gather_bytes(mine)
        for line in map(Line.model_validate_json, part.splitlines())
    }
    return [found[document] for document in sorted(found)]


def _lines(method: Classification) -> Iterator[Line]:
    """This rank's share."""
    found = method.predictions
    if found is None:  # cannot be: training ends with an evaluation
        return
    classes = method.class_names
    labels = method.held_out_documents.labels
    best = found.probs.argmax(dim=-1).tolist()
    for document, place, probs in zip(
        found.documents.tolist(), best, found.probs.tolist(), strict=True
    ):
        yield Line(
            document=document,
            label=classes[labels[document]],
            predicted=classes[place],
            probs={name: round(prob, 6) for name, prob in zip(classes, probs, strict=True)},
        )


def _confusion(classes: Sequence[str], found: Sequence[Line]) -> Heatmap:
    """How many documents of each class (rows) were taken for each class (columns)."""
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.float32)
    for line in found:
        counts[place[line.label], place[line.predicted]] += 1
    return Heatmap("true class (rows) and predicted class", counts, classes, classes)
