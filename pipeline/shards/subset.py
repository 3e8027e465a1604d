"""A few labels of many: which examples a smaller labelled set keeps, by seed and name alone."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def choose_per_class(
    names: Sequence[str],
    labels: NDArray[np.int64],
    *,
    seed: int,
    fraction: float | None = None,
    per_class: int | None = None,
) -> NDArray[np.int64]:
    """The examples that a labelled subset keeps, the same share or number of every class.

    A class's examples are ordered by the hash of (seed, name) and the first of them are kept: a
    smaller subset of the same seed is part of a larger one, and neither the order of the examples
    nor how they were cut into shards changes it.

    Args:
        names: of the examples, each another.
        labels: (examples,) class of each.
        seed: another one gives another subset.
        fraction: share of each class, rounded to the nearest number, at least one example.
        per_class: number of each class instead.

    Returns:
        (kept,) indexes, rising.

    Raises:
        ValueError: not exactly one of `fraction` and `per_class` is given, or a class has fewer
            than `per_class` examples.
    """
    if (fraction is None) == (per_class is None):
        msg = "give either fraction or per_class"
        raise ValueError(msg)
    ranks = np.array([_rank(seed, name) for name in names], np.uint64)
    kept = []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        if per_class is not None:
            count = per_class
        else:
            count = max(1, int(np.floor(len(members) * (fraction or 0.0) + 0.5)))
        if count > len(members):
            msg = f"class {label} has {len(members)} examples, fewer than per_class={per_class}"
            raise ValueError(msg)
        kept.append(members[np.argsort(ranks[members], kind="stable")[:count]])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)


def _rank(seed: int, name: str) -> int:
    text = f"{seed}\n{name}".encode(errors="surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8, person=b"labelled-subset")
    return int.from_bytes(digest.digest(), "big")
