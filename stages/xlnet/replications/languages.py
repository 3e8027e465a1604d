"""The generated languages of the replications, and the least loss each of them leaves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.xlnet.replications.config import ReplicationConfig

_LENGTH = 6
_TARGETS = {"joint": (2, 4), "position": (1, 4), "memory": (4,)}
_RULE_SEED = 20190619


@dataclass(frozen=True)
class Bounds:
    """Nats a target.

    Attributes:
        claim: the least loss of the model.
        control: the least loss of its control.
    """

    claim: float
    control: float


class Language:
    """Examples of one claim.

    Tokens below `symbols` are a target's first alphabet, the next as many its second; filler
    tokens come last.
    """

    def __init__(self, config: ReplicationConfig) -> None:
        """Args: config: which claim, and how many symbols."""
        self._config = config
        self._rule = np.random.default_rng(_RULE_SEED).permutation(config.symbols)
        self.targets = _TARGETS[config.claim]
        self.vocab_size = 2 * config.symbols + _LENGTH
        self.num_segments = config.gap + 1 if config.claim == "memory" else 1

    @property
    def bounds(self) -> Bounds:
        """Of the claim and of its control."""
        full = math.log(self._config.symbols)
        if self._config.claim == "joint":
            # The first of the two in the order is free, the second follows from it.
            return Bounds(full / 2, full)
        if self._config.claim == "position":
            # A mixture of two alphabets that do not overlap costs one bit more.
            return Bounds(full, full + math.log(2))
        return Bounds(0.0, full)

    def examples(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """(count, segments, length) int64 tokens; the loss is taken in the last segment."""
        symbols = self._config.symbols
        filler = np.arange(2 * symbols, 2 * symbols + _LENGTH)
        tokens = np.tile(filler, (count, self.num_segments, 1))
        first = rng.integers(0, symbols, count)
        if self._config.claim == "joint":
            tokens[:, 0, self.targets[0]] = first
            tokens[:, 0, self.targets[1]] = symbols + self._rule[first]
        elif self._config.claim == "position":
            tokens[:, 0, self.targets[0]] = first
            tokens[:, 0, self.targets[1]] = symbols + rng.integers(0, symbols, count)
        else:
            tokens[:, 0, 1] = first
            tokens[:, -1, self.targets[0]] = symbols + self._rule[first]
        return tokens

    def keys(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Row and column keys, (count, length), of a random order of the targets.

        The control of `joint` has no order among its targets: neither sees the other. In
        `position` no target sees another either: what can be known is where it stands.
        """
        row = torch.zeros(count, _LENGTH, dtype=torch.int64)
        column = torch.full_like(row, -1)
        places = list(self.targets)
        order = rng.permuted(np.tile(np.arange(len(places)), (count, 1)), axis=1)
        if self._config.control or self._config.claim == "position":
            order = np.zeros_like(order)
        row[:, places] = column[:, places] = torch.from_numpy(order)
        return row, column

    def batch(self, rng: np.random.Generator, count: int) -> Mapping[str, Tensor]:
        """Examples with an order each."""
        tokens = torch.from_numpy(self.examples(rng, count))
        row, column = self.keys(rng, count)
        places = torch.tensor(self.targets).repeat(count, 1)
        return {
            "tokens": tokens,
            "row_keys": row,
            "column_keys": column,
            "targets": places,
            "labels": tokens[:, -1].gather(1, places),
        }
