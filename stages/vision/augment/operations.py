"""The operations of AutoAugment and RandAugment by number, applied to a batch at once."""

from collections.abc import Callable, Mapping
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.vision.augment import colour, geometry


class Op(IntEnum):
    """What is done, and what its value means."""

    IDENTITY = 0
    SHEAR_X = 1
    """Pixels a row."""
    SHEAR_Y = 2
    TRANSLATE_X = 3
    """Pixels to the left."""
    TRANSLATE_Y = 4
    """Pixels up."""
    ROTATE = 5
    """Degrees counter-clockwise."""
    BRIGHTNESS = 6
    """Factor, as of the next three; 1 changes nothing."""
    COLOR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    """Bits kept."""
    SOLARIZE = 11
    """Threshold, 0 to 256."""
    SOLARIZE_ADD = 12
    """What is added below 128."""
    AUTOCONTRAST = 13
    EQUALIZE = 14
    INVERT = 15
    CUTOUT = 16
    """Side of the square, pixels."""


_COLOURS: Mapping[Op, Callable[[Tensor, Tensor], Tensor]] = {
    Op.BRIGHTNESS: colour.brightness,
    Op.COLOR: colour.colour,
    Op.CONTRAST: colour.contrast,
    Op.SHARPNESS: colour.sharpness,
    Op.POSTERIZE: colour.posterize,
    Op.SOLARIZE: colour.solarize,
    Op.SOLARIZE_ADD: colour.solarize_add,
    Op.AUTOCONTRAST: lambda images, _: colour.autocontrast(images),
    Op.EQUALIZE: lambda images, _: colour.equalize(images),
    Op.INVERT: lambda images, _: colour.invert(images),
}
_MOVES: Mapping[Op, Callable[[Tensor], Tensor]] = {
    Op.SHEAR_X: geometry.shear_x,
    Op.SHEAR_Y: geometry.shear_y,
    Op.TRANSLATE_X: geometry.translate_x,
    Op.TRANSLATE_Y: geometry.translate_y,
}
_KEEPS_COVER = (Op.BRIGHTNESS, Op.COLOR, Op.CONTRAST, Op.SHARPNESS)
"""Colour operations of the UDA code that keep transparency; the others paint the bare pixels."""

CUTOUT_COLOUR = (125, 122, 113)
"""What UDA's cutout paints: the mean of CIFAR-10."""


def apply(
    images: Tensor,
    covered: Tensor,
    ops: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    centres: NDArray[np.float64],
    fill: int = 0,
) -> tuple[Tensor, Tensor]:
    """One operation on each example.

    Args:
        images: (batch, 3, height, width) uint8.
        covered: (batch, 1, height, width) bool: pixels that show something of the original.
        ops: (batch,) numbers of `Op`, on the host: they decide which kernels run.
        values: (batch,) their values.
        centres: (batch, 2) y and x in [0, 1) of cutouts.
        fill: what appears where a picture moves away.

    Returns:
        New images and covered.
    """
    images, covered = images.clone(), covered.clone()
    for number in np.unique(ops).tolist():
        op = Op(number)
        if op is Op.IDENTITY:
            continue
        chosen = ops == number
        index = torch.from_numpy(np.flatnonzero(chosen)).to(images.device)
        value = torch.from_numpy(values[chosen]).to(images.device)
        some, seen = images[index], covered[index]
        if op in _COLOURS:
            some = _COLOURS[op](some, value)
            if op not in _KEEPS_COVER:
                seen = torch.ones_like(seen)
        elif op is Op.CUTOUT:
            hole = squares(centres[chosen], values[chosen], some)
            paint = torch.tensor(CUTOUT_COLOUR, dtype=some.dtype, device=some.device)
            some, seen = torch.where(hole, paint[:, None, None], some), seen & ~hole
        elif op is Op.ROTATE:
            some, seen = geometry.move(some, seen, geometry.rotate(value, *some.shape[-2:]), fill)
        else:
            some, seen = geometry.move(some, seen, _MOVES[op](value), fill)
        images[index], covered[index] = some, seen
    return images, covered


def squares(
    centres: NDArray[np.float64],
    sides: NDArray[np.float64],
    images: Tensor,
) -> Tensor:
    """(batch, 1, height, width) bool: true inside a square around each centre, cut at the borders.

    Height, width and device are those of the images.
    The square of side s about pixel p covers p - s // 2 up to, and without, p + s // 2.
    """
    height, width, device = images.shape[-2], images.shape[-1], images.device
    middle = torch.from_numpy((centres * (height, width)).astype(np.int64)).to(device)
    half = torch.from_numpy(sides.astype(np.int64) // 2).to(device)[:, None]
    y = torch.arange(height, device=device)[None] - middle[:, :1]
    x = torch.arange(width, device=device)[None] - middle[:, 1:]
    rows = (y >= -half) & (y < half)
    columns = (x >= -half) & (x < half)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
