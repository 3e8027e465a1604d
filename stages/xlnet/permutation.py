"""The factorization order and the masks that enforce it; tokens are never moved."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def draw_ranks(rng: np.random.Generator, length: int, perm_size: int) -> NDArray[np.int64]:
    """Places in a random factorization order.

    Args:
        rng: what it is drawn from.
        length: positions; a multiple of perm_size.
        perm_size: one random permutation of so many positions is applied to every block of them.

    Returns:
        (length,) each position's place in the order; later blocks come later.

    Source: Yang et al. 2019, released code, data_utils.py `_local_perm`.
    """
    order = rng.permutation(perm_size)
    blocks = np.arange(0, length, perm_size, dtype=np.int64)
    return (blocks[:, None] + order[None, :]).reshape(-1)


def attention_keys(
    ranks: NDArray[np.int64], selected: NDArray[np.bool_], functional: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order as two numbers a position: i may not attend to j where row[i] <= column[j].

    Context (neither selected nor functional) is seen by all and sees all context. Targets and
    functional positions (SEP and CLS) are seen by what comes later in the order; a functional one
    also by itself, a target by itself in the content stream only.

    Args:
        ranks: (length,) place in the order, 0 <= rank < length.
        selected: (length,) chosen for prediction.
        functional: (length,) SEP or CLS; never targets, also where selected.

    Returns:
        row: (length,) 0..length.
        column: (length,) -1..length - 1.

    Source: Yang et al. 2019, released code, data_utils.py `_local_perm`: rank -1 for context, and
    one more than its rank for all but targets where they ask.
    """
    target = selected & ~functional
    column = np.where(target | functional, ranks, -1)
    row = np.where(target, column, column + 1)
    return row, column


def join_halves(
    first: tuple[NDArray[np.int64], NDArray[np.int64]],
    second: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys of a row of two halves, each with an order of its own, from those of the halves.

    The first half never sees the second, so that what is cached of it does not depend on the
    drawn segments; the second sees all of the first, the true tokens of its targets too.
    """
    offset = len(first[0]) + 1
    row = np.concatenate([first[0], second[0] + offset])
    column = np.concatenate([first[1], second[1] + offset])
    return row, column


def padding_keys(is_padding: Tensor) -> tuple[Tensor, Tensor]:
    """Keys without any order: all is seen but padding, which only padding itself sees.

    Args:
        is_padding: (batch, length) bool.

    Returns:
        row, column: (batch, length) int64, as `attention_keys`.
    """
    column = torch.where(is_padding, 1, -1)
    return torch.zeros_like(column), column


def blocked(row: Tensor, column: Tensor) -> Tensor:
    """(batch, rows), (batch, columns) keys -> (batch, rows, columns) bool, True = may not attend.

    This is the query stream's mask; the content stream's also lets each position see itself.
    """
    return row[:, :, None] <= column[:, None, :]
