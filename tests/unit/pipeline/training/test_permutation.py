"""The looked-up permutation is as random as a drawn one, as far as simple statistics see."""

import numpy as np
import pytest

from pipeline.training.permutation import TABLE_LIMIT, permutation

LARGE = TABLE_LIMIT + 11


def _values(seed: int, epoch: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return permutation(LARGE, seed, "stream", epoch)(np.arange(LARGE))


def test_large_permutation_has_fixed_points_and_steps_like_a_random_one() -> None:
    values = np.concatenate([_values(seed) for seed in range(20)])
    positions = np.tile(np.arange(LARGE), 20)
    # One expected in each, so 20 +- 4.5 in all.
    assert 4 <= np.count_nonzero(values == positions) <= 40
    assert 4 <= np.count_nonzero(np.diff(values) == 1) <= 40


def test_large_permutation_spreads_each_stretch_over_the_whole_range() -> None:
    counts = np.stack(
        [
            np.histogram(part, bins=16, range=(0, LARGE))[0]
            for part in np.split(_values(3)[:-11], 16)
        ]
    )
    expected = counts.sum() / counts.size
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    # 225 degrees of freedom, standard deviation 21.
    assert 225 - 5 * 21 < chi_squared < 225 + 5 * 21


@pytest.mark.parametrize("size", [97, LARGE])
def test_permutation_of_another_epoch_or_seed_is_unrelated(size: int) -> None:
    look_ups = [permutation(size, seed, "stream", epoch) for seed in (1, 2) for epoch in (0, 1)]
    drawn = [look_up(np.arange(size)) for look_up in look_ups]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert np.count_nonzero(one == other) < 12
            assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(size)
