"""What a training method gives to the loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class StreamSpec:
    """An endless order of examples, a pure function of (seed, epoch, position).

    Attributes:
        size: "shuffled": examples an epoch; "rows": steps each row lasts before it starts again.
        batch_size: examples (or rows) a step takes over all ranks.
        order: "shuffled" draws a new permutation each epoch, epochs are concatenated and a batch
            may span the boundary; "rows" gives global row r at step t the position t, so a row is
            read as one contiguous span and the same rank keeps the same rows.
    """

    size: int
    batch_size: int
    order: Literal["shuffled", "rows"] = "shuffled"


@dataclass(frozen=True)
class Picks:
    """Which examples of a stream one micro-batch holds; int64 arrays of shape (examples,).

    "shuffled": `index` is the example, `position` its place in the epoch's order.
    "rows": `index` is the global row, `position` the step within the row.
    """

    epoch: NDArray[np.int64]
    index: NDArray[np.int64]
    position: NDArray[np.int64]


@dataclass(frozen=True)
class Loss:
    """Sums over one micro-batch; the loop divides by the global weight.

    Attributes:
        total: scalar with a graph: the sum of the loss over all terms.
        scores: detached scalars summed over the same terms; reported divided by the weight.
    """

    total: Tensor
    scores: Mapping[str, Tensor]


class Method(Protocol):
    """A model, its loss and its data; stateless but for what `state_dict` gives.

    The gradient of a step is that of sum(total) / sum(weight) over every micro-batch of every
    rank, so it does not depend on how the global batch is cut.
    """

    @property
    def model(self) -> nn.Module:
        """The bare model; the engine wraps it."""

    @property
    def streams(self) -> Mapping[str, StreamSpec]:
        """The streams by name; each has its own cursor in the checkpoint."""

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        """Host tensors of one micro-batch, first dimension examples.

        A pure function of `picks` and the method's seed: runs ahead of the step, on another thread.

        Raises:
            DataError: an example is broken; the message names shard and offset.
        """

    def weight(self, batch: Batch) -> Tensor:
        """How many terms the loss of this batch sums over: a scalar, no graph.

        From the host tensors alone, on the thread of `batch`: the ranks add up their weights
        before anybody computes.
        """

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss on the device; calls `model`, the engine's wrapper, exactly once.

        Every trainable parameter takes part. Below fp32 the model's outputs may be bf16 or fp16
        (floating inputs are cast by the engine): sum the loss in float32.
        """

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Score name -> (sum, weight) of this rank's part of the held-out examples.

        Called on every rank under no_grad with the model in eval mode. All ranks call `model`
        equally often: it may need its peers, and each call is where an evaluation can be stopped.
        The loop adds up over ranks. An empty mapping where nothing is held out.
        """

    def state_dict(self) -> Mapping[str, "MethodState"]:
        """Tensors carried from step to step (XLNet's memory); often empty."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` gave, "per_row" tensors cut for this rank's rows."""


@dataclass(frozen=True)
class StepCost:
    """What one step takes, over all ranks.

    Attributes:
        flops: arithmetic of forward and backward that the model itself asks for, a multiply-add
            being two; recomputation, and what a particular implementation does besides, left out.
        tokens: positions (or frames, or patches) that were trained on.
    """

    flops: float
    tokens: float


@runtime_checkable
class Costed(Protocol):
    """A method that says what its steps cost: what throughput and MFU are made of. Optional."""

    def step_cost(self, *, global_batch_size: int, num_forwards: int) -> StepCost:
        """The cost of a step.

        Args:
            global_batch_size: examples of the step, over all ranks.
            num_forwards: forward passes they are cut into, over all ranks.
        """


@dataclass(frozen=True)
class MethodState:
    """One tensor of a method's state: the same on all ranks, or one slice per row of the batch.

    A "per_row" tensor has this rank's rows as its first dimension, in the order of the global rows.
    """

    tensor: Tensor
    kind: Literal["replicated", "per_row"]


def to_device(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The batch on the device; asynchronous when the source is pinned."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
