"""Pictures a stage can show: plain data, never HTML; the report draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]


@dataclass(frozen=True)
class Lines:
    """Curves over a shared x axis; `ys` maps a legend to values as long as `x`."""

    title: str
    x_label: str
    y_label: str
    x: Sequence[float]
    ys: dict[str, Sequence[float]]


@dataclass(frozen=True)
class Heatmap:
    """A matrix (rows, columns) float with names for both directions."""

    title: str
    values: NDArray[np.float32]
    row_names: Sequence[str]
    column_names: Sequence[str]


@dataclass(frozen=True)
class Images:
    """Pictures (count, height, width, 3) uint8 with a caption each."""

    title: str
    pixels: NDArray[np.uint8]
    captions: Sequence[str]


@dataclass(frozen=True)
class Boxes:
    """One picture (height, width, 3) uint8 with boxes (n, 4) as left, top, right, bottom pixels."""

    title: str
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: Sequence[str]


@dataclass(frozen=True)
class Spans:
    """Text cut into pieces, each with a label ("" for none) that decides its colour.

    The labels "right", "near" and "wrong" have the colours that one expects.
    """

    title: str
    pieces: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True)
class Audio:
    """A mono clip (samples,) float in [-1, 1] at `sample_rate` Hz."""

    title: str
    samples: NDArray[np.float32]
    sample_rate: int


Picture = Table | Lines | Heatmap | Images | Boxes | Spans | Audio
