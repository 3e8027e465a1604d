"""Random permutations that are looked up, not stored."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pipeline.training.seeding import derive, generator

TABLE_LIMIT = 1 << 16
"""Up to here a table (512 KiB) is both faster and a perfectly uniform draw."""

_ROUNDS = 8


class Permutation(Protocol):
    """A bijection of range(size)."""

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The elements at these positions, both int64 in [0, size)."""


def permutation(size: int, seed: int, *purpose: str | int) -> Permutation:
    """The permutation of range(size) that belongs to (seed, purpose).

    A table for small sizes. Above, a keyed Feistel network with cycle walking: its memory and its
    set-up do not grow with the size, where a table of 10^9 examples would take 8 GB a rank.
    """
    if size <= TABLE_LIMIT:
        return _Table(generator(seed, *purpose, "table").permutation(size))
    return _Feistel(size, seed, *purpose)


class _Table(Permutation):
    def __init__(self, table: NDArray[np.int64]) -> None:
        self._table = table

    @override
    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._table[positions]


class _Feistel(Permutation):
    """A Feistel network on the bits of the next power of two; values outside are walked on.

    Source: Black & Rogaway 2002, "Ciphers with arbitrary finite domains", cycle-walking cipher;
    the round function is the finaliser of MurmurHash3 (64 bit).
    """

    def __init__(self, size: int, seed: int, *purpose: str | int) -> None:
        self._size = np.uint64(size)
        bits = (size - 1).bit_length()
        self._low_bits = np.uint64(bits // 2)
        self._low_mask = np.uint64((1 << (bits // 2)) - 1)
        self._high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
        self._keys = [np.uint64(derive(seed, *purpose, "round", r)) for r in range(_ROUNDS)]

    @override
    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        values = self._encrypt(positions.astype(np.uint64))
        outside = np.flatnonzero(values >= self._size)
        # Each walk leaves at most half of them outside; it ends, for the network is a bijection.
        while outside.size:
            values[outside] = self._encrypt(values[outside])
            outside = outside[values[outside] >= self._size]
        return values.astype(np.int64)

    def _encrypt(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low, high = values & self._low_mask, values >> self._low_bits
        for number, key in enumerate(self._keys):
            if number % 2:
                low = low ^ (_mix(high, key) & self._low_mask)
            else:
                high = high ^ (_mix(low, key) & self._high_mask)
        return (high << self._low_bits) | low


def _mix(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    mixed = values ^ key
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return mixed ^ (mixed >> np.uint64(33))
