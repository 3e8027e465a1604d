"""Order and masks against the table of the specification and a worked case."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.xlnet.permutation import (
    attention_keys,
    blocked,
    draw_ranks,
    join_halves,
    padding_keys,
)

# 10 20 30 40 SEP 50 60 SEP CLS, targets 1, 3, 6; worked by hand, 1 = blocked in the query stream.
GOLDEN_RANKS = np.array([5, 2, 7, 0, 3, 8, 6, 1, 4])
GOLDEN_MASK = (
    "010110111",
    "010010101",
    "010110111",
    "010110111",
    "000000101",
    "010110111",
    "000000100",
    "010010101",
    "000000100",
)


def _flags(length: int, *places: int) -> NDArray[np.bool_]:
    return np.isin(np.arange(length), places)


def _mask(keys: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.bool_]:
    row, column = (torch.from_numpy(part)[None] for part in keys)
    return blocked(row, column)[0].numpy()


def test_worked_case_gives_its_mask() -> None:
    keys = attention_keys(GOLDEN_RANKS, _flags(9, 1, 3, 6), _flags(9, 4, 7, 8))
    expected = np.array([[digit == "1" for digit in row] for row in GOLDEN_MASK])
    np.testing.assert_array_equal(_mask(keys), expected)


def test_selected_functional_position_is_no_target() -> None:
    selected, functional = _flags(9, 1, 3, 6), _flags(9, 4, 7, 8)
    with_functional = attention_keys(GOLDEN_RANKS, selected | functional, functional)
    without = attention_keys(GOLDEN_RANKS, selected, functional)
    np.testing.assert_array_equal(_mask(with_functional), _mask(without))


@pytest.mark.parametrize("seed", range(20))
def test_mask_agrees_with_the_table_of_who_sees_whom(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["ctx", "fn", "tgt"], 10)
    ranks = draw_ranks(rng, 10, 10)
    mask = _mask(attention_keys(ranks, kinds == "tgt", kinds == "fn"))
    for i, row in enumerate(kinds):
        for j, column in enumerate(kinds):
            if column == "ctx":
                sees = True
            elif row == "ctx":
                sees = False
            elif row == "fn" and column == "fn":
                sees = ranks[j] <= ranks[i]
            else:
                sees = ranks[j] < ranks[i]
            assert mask[i, j] == (not sees), (i, row, j, column)


def test_ranks_apply_one_permutation_to_every_block() -> None:
    ranks = draw_ranks(np.random.default_rng(0), 12, 4)
    assert sorted(ranks) == list(range(12))
    np.testing.assert_array_equal(ranks[4:8], ranks[:4] + 4)
    np.testing.assert_array_equal(ranks[8:], ranks[:4] + 8)


def test_every_order_is_drawn_about_equally_often() -> None:
    rng = np.random.default_rng(0)
    orders = [tuple(draw_ranks(rng, 3, 3)) for _ in range(6000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts) < 150  # five standard deviations


def test_halves_first_never_sees_second_and_second_sees_all_of_first() -> None:
    rng = np.random.default_rng(1)
    halves = [
        attention_keys(draw_ranks(rng, n, n), rng.random(n) < 0.4, rng.random(n) < 0.2)
        for n in (6, 8)
    ]
    mask = _mask(join_halves(halves[0], halves[1]))
    assert mask[:6, 6:].all()
    assert not mask[6:, :6].any()
    np.testing.assert_array_equal(mask[:6, :6], _mask(halves[0]))
    np.testing.assert_array_equal(mask[6:, 6:], _mask(halves[1]))


def test_padding_is_seen_by_nobody_and_the_rest_by_all() -> None:
    is_padding = torch.tensor([[True, False, False]])
    mask = blocked(*padding_keys(is_padding))
    assert mask.tolist() == [[[True, False, False]] * 3]
