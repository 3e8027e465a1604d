"""Fewer points that draw the same curve: the lowest and the highest of each bucket."""

import numpy as np
from numpy.typing import NDArray


def min_max(
    steps: NDArray[np.int64], values: NDArray[np.float64], num_buckets: int
) -> NDArray[np.int64]:
    """Which points to keep, rising.

    The x axis is cut into `num_buckets` equal parts, as a screen is into pixels; of each part stay
    the lowest value, the highest, and one that is no number, where there are any; so do the first
    and the last point. Peaks therefore survive, which a mean or every n-th point would lose.

    Args:
        steps: (points,) rising.
        values: (points,); may hold NaN and infinity.
        num_buckets: at most 3 points each are kept.
    """
    if len(steps) <= 2 * num_buckets:
        return np.arange(len(steps))
    span = max(1, int(steps[-1]) - int(steps[0]))
    bucket = np.minimum((steps - steps[0]) * (num_buckets / span), num_buckets - 1).astype(np.int64)
    is_number = np.isfinite(values)
    numbers, others = np.flatnonzero(is_number), np.flatnonzero(~is_number)
    # By bucket, then by value: each bucket's extremes are the ends of its group.
    order = numbers[np.lexsort((values[numbers], bucket[numbers]))]
    starts = np.flatnonzero(np.diff(bucket[order], prepend=-1))
    ends = np.append(starts[1:], len(order)) - 1 if len(order) else starts
    _, first_others = np.unique(bucket[others], return_index=True)
    kept = [order[starts], order[ends], others[first_others], np.array([0, len(steps) - 1])]
    return np.unique(np.concatenate(kept))
