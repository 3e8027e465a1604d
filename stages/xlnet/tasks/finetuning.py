"""Finetuning on a task: the training method, and what every task stage does around it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.shards.tokenizer import require_same_tokenizer
from pipeline.spec.context import StageContext, World
from pipeline.spec.scores import write_scores
from pipeline.storage.files import replace_file
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec, to_device
from pipeline.training.world import open_world
from stages.xlnet.checkpoint import Shape, load_backbone, read_shape, write_shape
from stages.xlnet.config import ModelConfig
from stages.xlnet.documents import Ids
from stages.xlnet.rules import layer_wise_rule
from stages.xlnet.tasks.config import TaskConfig
from stages.xlnet.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Found = Mapping[int, Sequence[Any]]
"""Held-out example -> what the model said of each of its inputs; plain JSON."""


@dataclass(frozen=True)
class Conclusion:
    """What a task makes of all that was found.

    Attributes:
        scores: by name.
        files: name -> content, in the task's own format; one is predictions.jsonl.
    """

    scores: Mapping[str, float]
    files: Mapping[str, str]


class Task(Protocol):
    """A task's data, model and measure; the training around it is `Finetuning`'s."""

    @property
    def model(self) -> nn.Module:
        """Head and backbone."""

    @property
    def shape(self) -> Shape:
        """What rebuilds the model."""

    @property
    def num_training(self) -> int:
        """Training examples."""

    @property
    def num_inputs(self) -> Sequence[int]:
        """Inputs of each held-out example: its windows, or documents."""

    def training_batch(self, epochs: Ids, examples: Ids) -> dict[str, Tensor]:
        """One input of each example, and what it should give."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Summed over examples; every trainable parameter takes part."""

    def held_out_batch(self, inputs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """(example, input of it) to tensors."""

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """What the model says of each input, as plain JSON."""

    def sums(self, found: Found) -> Mapping[str, tuple[float, float]]:
        """Scores that are means over examples: (sum, count)."""

    def conclude(self, found: Found) -> Conclusion:
        """Scores and prediction files, from all held-out examples."""


class Finetuning:
    """A task as a training method."""

    def __init__(self, task: Task, config: TaskConfig, *, place: World) -> None:
        """Args: task; the stage's configuration; this rank, which evaluates its share."""
        self._task = task
        self._size = config.evaluation_batch_size
        self._place = place
        self.model = task.model
        self.streams = {
            "examples": StreamSpec(
                size=task.num_training, batch_size=config.train.global_batch_size
            )
        }
        self.found: dict[int, list[Any]] = {}

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        """One input of each picked example."""
        which = picks["examples"]
        return self._task.training_batch(which.epoch, which.index) | {
            "count": torch.tensor([len(which.index)])
        }

    def weight(self, batch: Batch) -> Tensor:
        """Number of examples."""
        return batch["count"][0]

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The task's."""
        return self._task.loss(model, batch)

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        """The task's means over this rank's share of the held-out examples."""
        inputs = self._inputs_of(self._place.rank)
        found: dict[int, list[Any]] = {example: [] for example, _ in inputs}
        device = next(self.model.parameters()).device
        for begin in range(0, self._num_forwards() * self._size, self._size):
            # A rank that is done goes on with any input: all ranks must call equally often.
            mine = inputs[begin : begin + self._size]
            batch = to_device(self._task.held_out_batch(mine or [(0, 0)]), device)
            said = self._task.read(model, batch)
            for (example, _), answer in zip(mine, said[: len(mine)], strict=True):
                found[example].append(answer)
        self.found = found
        return {
            name: (torch.tensor(total, dtype=torch.float64), torch.tensor(count))
            for name, (total, count) in self._task.sums(found).items()
        }

    def state_dict(self) -> Mapping[str, MethodState]:
        """Nothing is carried from step to step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""

    def _inputs_of(self, rank: int) -> list[tuple[int, int]]:
        """A rank's held-out inputs: examples are dealt out by their number of inputs."""
        counts = self._task.num_inputs
        order = np.argsort(np.asarray(counts), kind="stable")
        return [
            (int(example), number)
            for example in order[rank :: self._place.size]
            for number in range(counts[int(example)])
        ]

    def _num_forwards(self) -> int:
        """Forward passes of an evaluation, the same on all ranks."""
        most = max(len(self._inputs_of(rank)) for rank in range(self._place.size))
        return -(-most // self._size)


def finetune(ctx: StageContext[Any], task: Task) -> None:
    """Trains, then writes checkpoint, scores and predictions.

    Raises:
        Preempted, Diverged, ConfigError: as `pipeline.training.loop.train`.
    """
    config: TaskConfig = ctx.config
    method = Finetuning(task, config, place=ctx.world)
    rule = layer_wise_rule(task.shape.model.num_layers, config.layer_decay)
    folder = ctx.outputs["checkpoint"]
    with open_world(ctx.world, threads=ctx.threads) as world:
        result = train(method, config.train, ctx, rule=rule, output=folder)
        parts = world.gather_bytes(json.dumps(method.found).encode())
    if ctx.world.rank:
        return
    found = {int(k): v for part in parts for k, v in json.loads(part).items()}
    conclusion = task.conclude(found)
    for name, value in conclusion.scores.items():
        ctx.recorder.scalar(labelled(names.EVAL_SCORE, score=name), value, result.step)
    write_shape(folder, task.shape)
    write_scores(ctx.outputs["scores"], conclusion.scores)
    for name, text in conclusion.files.items():
        replace_file(ctx.outputs["predictions"] / name, text.encode())


def shape_of(
    model: ModelConfig | None,
    inputs: Mapping[str, Path],
    vocabulary: Vocabulary,
    classes: tuple[str, ...] | None = None,
) -> Shape:
    """That of the configuration, or of the checkpoint where it gives none."""
    return Shape(
        model=model or read_shape(inputs["checkpoint"]).model,
        vocab_size=vocabulary.size,
        tokenizer=vocabulary.tokenizer,
        classes=classes,
    )


def start_from(model: Any, shape: Shape, inputs: Mapping[str, Path]) -> None:
    """Fills the backbone from the checkpoint, where there is one.

    Raises:
        ConfigError: it was trained with another tokenizer.
        InputError: it is damaged.
    """
    if "checkpoint" in inputs:
        checkpoint = inputs["checkpoint"]
        trained_with = read_shape(checkpoint).tokenizer
        require_same_tokenizer(checkpoint, trained_with, shape.tokenizer)
        load_backbone(model.backbone, checkpoint)


def jsonl(lines: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def keys_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Row and column keys of a packed batch."""
    return batch["row_keys"], batch["column_keys"]
