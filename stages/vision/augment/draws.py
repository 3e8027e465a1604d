"""Random numbers of many examples at once, each a pure function of (seed, purpose, epoch, sample)."""

import numpy as np
from numpy.typing import NDArray

from pipeline.training.seeding import derive

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def uniforms(
    seed: int,
    purpose: str,
    epoch: NDArray[np.int64],
    sample: NDArray[np.int64],
    count: int,
) -> NDArray[np.float64]:
    """(examples, count) in [0, 1): the same for an example in whatever batch and rank it is.

    Args:
        seed: of the stage.
        purpose: what they are for; another one gives unrelated numbers.
        epoch: (examples,) of each.
        sample: (examples,) number of each.
        count: numbers an example.

    Source: the output function of SplitMix64 (Steele, Lea & Flood 2014), in counter mode: a numpy
    generator for each example would cost more than decoding a small picture.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2 ** 64
        key = _mixed(np.uint64(derive(seed, purpose)) + epoch.astype(np.uint64) * _GOLDEN)
        key = _mixed(key ^ _mixed(sample.astype(np.uint64) + _GOLDEN))
        places = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        bits = _mixed(key[:, None] + places[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in _MIX:
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    return value ^ (value >> np.uint64(31))
