"""The stage kind `xlnet.classify`."""

import json
from collections.abc import Iterator, Mapping

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from pipeline.storage.files import replace_file
from pipeline.training.loop import train
from pipeline.training.world import TrainingWorld, open_world
from stages.xlnet.checkpoint import write_shape
from stages.xlnet.classification import Classification
from stages.xlnet.config import ClassifyConfig
from stages.xlnet.objective import parameter_rule

PREDICTIONS_FILE = "predictions.jsonl"


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
    with open_world(ctx.world, threads=ctx.threads) as world:
        result = train(method, ctx.config.train, ctx, rule=parameter_rule, output=folder)
        lines = _gather_lines(method, world)
    if ctx.world.rank == 0:
        scores = dict(result.scores) | {"majority_accuracy": method.majority_accuracy()}
        name = labelled(names.EVAL_SCORE, score="majority_accuracy")
        ctx.recorder.scalar(name, scores["majority_accuracy"], result.step)
        write_shape(folder, method.shape)
        write_scores(ctx.outputs["scores"], scores)
        replace_file(ctx.outputs["predictions"] / PREDICTIONS_FILE, lines)


def _gather_lines(method: Classification, world: TrainingWorld) -> bytes:
    """predictions.jsonl in the order of the documents, from all ranks."""
    mine = json.dumps(dict(_lines(method))).encode()
    lines: dict[int, str] = {}
    for part in world.gather_bytes(mine):
        lines |= {int(document): line for document, line in json.loads(part).items()}
    return "".join(f"{line}\n" for _, line in sorted(lines.items())).encode()


def _lines(method: Classification) -> Iterator[tuple[int, str]]:
    """(document, its line) of this rank's share."""
    found = method.predictions
    if found is None:  # cannot be: training ends with an evaluation
        return
    classes = method.class_names
    labels = method.held_out_documents.labels
    best = found.probs.argmax(dim=-1).tolist()
    for document, place, probs in zip(
        found.documents.tolist(), best, found.probs.tolist(), strict=True
    ):
        line: Mapping[str, object] = {
            "document": document,
            "label": classes[labels[document]],
            "predicted": classes[place],
            "probs": {name: round(prob, 6) for name, prob in zip(classes, probs, strict=True)},
        }
        yield document, json.dumps(line, ensure_ascii=False)
