"""Which examples a step takes: a pure function of seed, stream and the count of examples so far."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.training.method import Picks, StreamSpec
from pipeline.training.permutation import Permutation, permutation

_BLOCK = 1 << 13
"""Examples whose order is computed at once: a Feistel look-up costs numpy calls, not elements."""


class StreamOrder:
    """The endless order of one stream: global example n -> what to read."""

    def __init__(self, spec: StreamSpec, seed: int, name: str) -> None:
        if spec.size < 1:
            msg = f"stream {name!r} is empty; it needs at least one example"
            raise DataError(msg)
        self._spec = spec
        self._seed = seed
        self._name = name
        self._epoch = -1
        self._permutation: Permutation
        self._block_start = -1
        self._block: NDArray[np.int64] = np.empty(0, np.int64)

    def picks(self, start: int, count: int) -> Picks:
        """The examples start, start + 1, ... start + count - 1 of all that are ever drawn."""
        numbers = np.arange(start, start + count, dtype=np.int64)
        size = self._spec.size
        if self._spec.order == "rows":
            step, row = np.divmod(numbers, self._spec.batch_size)
            epoch, position = np.divmod(step, size)
            return Picks(epoch=epoch, index=row, position=position)
        first_epoch, first = divmod(start, size)
        if first + count <= size:  # most batches; the general way costs a third of a whole batch
            return Picks(
                epoch=np.full(count, first_epoch),
                index=self._shuffled(first_epoch, first, count),
                position=numbers - first_epoch * size,
            )
        epoch, position = np.divmod(numbers, size)
        index = np.concatenate(
            [
                self._shuffled(int(e), int(position[begin]), int(length))
                for e, begin, length in zip(
                    *np.unique(epoch, return_index=True, return_counts=True), strict=True
                )
            ]
        )
        return Picks(epoch=epoch, index=index, position=position)

    def _shuffled(self, epoch: int, first: int, count: int) -> NDArray[np.int64]:
        """The examples at positions first ... first + count - 1 of an epoch."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = permutation(
                self._spec.size, self._seed, "stream", self._name, epoch
            )
            self._block_start = -1
        offset = first - self._block_start
        if self._block_start < 0 or offset < 0 or offset + count > len(self._block):
            stop = min(first + max(_BLOCK, count), self._spec.size)
            self._block = self._permutation(np.arange(first, stop, dtype=np.int64))
            self._block_start, offset = first, 0
        return self._block[offset : offset + count]


class Streams:
    """All streams of a method, cut for one rank and its micro-batches.

    The global batch of a step is a run of consecutive examples. Rank r takes the r-th of its equal
    parts, micro-batch m the m-th part of that: what a step trains on does not depend on the cut.
    """

    def __init__(
        self, specs: Mapping[str, StreamSpec], *, seed: int, rank: int, size: int, num_micro: int
    ) -> None:
        """Raises ConfigError when a batch does not divide among ranks and micro-batches."""
        for name, spec in specs.items():
            if spec.batch_size % (size * num_micro):
                msg = (
                    f"stream {name!r}: {spec.batch_size} examples a step do not divide among "
                    f"{size} ranks with {num_micro} micro-batches each; "
                    f"use a multiple of {size * num_micro}"
                )
                raise ConfigError(msg)
        self._specs = specs
        self._orders = {name: StreamOrder(spec, seed, name) for name, spec in specs.items()}
        self._rank, self._parts = rank, size * num_micro
        self._num_micro = num_micro

    def picks(self, step: int) -> list[dict[str, Picks]]:
        """What this rank's micro-batches of the step hold; `step` counts from 0."""
        return [
            {name: self._part(name, step, self._rank * self._num_micro + m) for name in self._specs}
            for m in range(self._num_micro)
        ]

    def _part(self, name: str, step: int, part: int) -> Picks:
        batch_size = self._specs[name].batch_size
        count = batch_size // self._parts
        return self._orders[name].picks(step * batch_size + part * count, count)
