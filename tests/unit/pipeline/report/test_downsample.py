import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.downsample import min_max


def test_min_max_keeps_a_single_peak_of_a_million_points() -> None:
    values = np.zeros(1_000_000)
    values[123_457], values[765_431] = 5.0, -5.0
    kept = min_max(np.arange(1_000_000), values, 500)
    assert len(kept) <= 1502
    assert {123_457, 765_431, 0, 999_999} <= set(kept.tolist())


def test_min_max_of_few_points_keeps_all() -> None:
    assert min_max(np.array([1, 5, 9]), np.zeros(3), 2).tolist() == [0, 1, 2]


def test_min_max_keeps_holes() -> None:
    values = np.ones(1000)
    values[500] = math.nan
    assert 500 in min_max(np.arange(1000), values, 10)


@given(
    st.lists(st.floats(-10, 10) | st.sampled_from([math.nan, math.inf]), min_size=1, max_size=300),
    st.integers(1, 20),
)
def test_min_max_keeps_the_extremes_of_every_bucket(values: list[float], buckets: int) -> None:
    steps, array = np.arange(len(values)) * 3, np.array(values)
    kept = min_max(steps, array, buckets)
    assert np.all(np.diff(kept) > 0)
    assert len(kept) <= 3 * buckets + 2 or len(values) <= 2 * buckets
    # Independent: which values lie in which part of the axis, one by one.
    span = max(1, steps[-1])
    for part in range(buckets):
        inside = [
            i
            for i, s in enumerate(steps.tolist())
            if min(int(s * (buckets / span)), buckets - 1) == part
        ]
        finite = [values[i] for i in inside if math.isfinite(values[i])]
        if finite:
            shown = [values[i] for i in kept if i in inside and math.isfinite(values[i])]
            assert min(shown) == min(finite)
            assert max(shown) == max(finite)


@pytest.mark.parametrize("value", [math.nan, 1.0])
def test_min_max_of_equal_steps_does_not_divide_by_zero(value: float) -> None:
    assert len(min_max(np.zeros(100, int), np.full(100, value), 4)) >= 1
