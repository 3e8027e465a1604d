"""Operations that move pixels: nearest neighbour, to the bit as Pillow."""

import math

import torch
from torch import Tensor

_ONE = 65536.0
"""Pillow reckons places in sixteenths of bits after the point."""


def move(images: Tensor, covered: Tensor, inverse: Tensor, fill: int) -> tuple[Tensor, Tensor]:
    """Takes each pixel from where the inverse map sends its centre.

    Args:
        images: (batch, channels, height, width) uint8.
        covered: (batch, 1, height, width) bool: pixels that show something of the original.
        inverse: (batch, 6) float64 a, b, c, d, e, f: x' = a x + b y + c, y' = d x + e y + f.
        fill: value of pixels that come from outside.

    Returns:
        Images and covered; what comes from outside is not covered.
    """
    height, width = images.shape[-2:]
    a, b, c, d, e, f = inverse.unbind(1)
    y = torch.arange(height, device=images.device)[None, :, None]
    x = torch.arange(width, device=images.device)[None, None, :]
    columns = (_fixed(a) * x + _fixed(b) * y + _fixed(c + (a + b) * 0.5)) >> 16
    rows = (_fixed(d) * x + _fixed(e) * y + _fixed(f + (d + e) * 0.5)) >> 16
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    place = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)[:, None]
    moved = images.flatten(2).gather(2, place.expand(-1, images.shape[1], -1)).view_as(images)
    still = covered.flatten(2).gather(2, place).view_as(covered) & inside[:, None]
    filler = torch.full((), fill, dtype=images.dtype, device=images.device)
    return torch.where(inside[:, None], moved, filler), still


def shear_x(level: Tensor) -> Tensor:
    """(batch, 6) x' = x + level y."""
    return _matrix(level, 1)


def shear_y(level: Tensor) -> Tensor:
    """(batch, 6) y' = y + level x."""
    return _matrix(level, 3)


def translate_x(pixels: Tensor) -> Tensor:
    """(batch, 6) x' = x + pixels: the picture moves to the left."""
    return _matrix(pixels, 2)


def translate_y(pixels: Tensor) -> Tensor:
    """(batch, 6) y' = y + pixels: the picture moves up."""
    return _matrix(pixels, 5)


def rotate(degrees: Tensor, height: int, width: int) -> Tensor:
    """(batch, 6) counter-clockwise about the middle."""
    angle = -degrees.double() * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    return torch.stack((cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y), dim=1)


def _matrix(level: Tensor, place: int) -> Tensor:
    matrix = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64, device=level.device)
    matrix = matrix.repeat(len(level), 1)
    matrix[:, place] = level.double()
    return matrix


def _fixed(value: Tensor) -> Tensor:
    return (value * _ONE + 0.5).floor().long()[:, None, None]
