"""Which part of an image is seen, and that part at the size of the network."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from stages.vision.augment.config import CropConfig

NUM_ATTEMPTS = 10
DRAWS_AN_ATTEMPT = 4


class Box(NamedTuple):
    """Part of an image, pixels."""

    top: int
    left: int
    height: int
    width: int


def central_box(height: int, width: int, fraction: float) -> Box:
    """The square in the middle whose side is `fraction` of the shorter side."""
    side = max(1, round(min(height, width) * fraction))
    return Box((height - side) // 2, (width - side) // 2, side, side)


def random_box(draws: NDArray[np.float64], height: int, width: int, config: CropConfig) -> Box:
    """A part of random area and aspect; after ten that do not fit, the largest central one.

    Args:
        draws: (NUM_ATTEMPTS * DRAWS_AN_ATTEMPT,) uniform in [0, 1).
        height: of the image.
        width: of the image.
        config: ranges of area and aspect.

    Source: Szegedy et al. 2015, arXiv:1409.4842, as RandomResizedCrop of torchvision has it.
    """
    low, high = (math.log(ratio) for ratio in config.aspect)
    least, greatest = config.area
    for attempt in draws.reshape(NUM_ATTEMPTS, DRAWS_AN_ATTEMPT).tolist():
        area = height * width * (least + attempt[0] * (greatest - least))
        aspect = math.exp(low + attempt[1] * (high - low))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(attempt[2] * (height - h + 1)), int(attempt[3] * (width - w + 1))
            return Box(top, left, h, w)
    w, h = width, height
    if width / height < config.aspect[0]:
        h = min(height, round(width / config.aspect[0]))
    elif width / height > config.aspect[1]:
        w = min(width, round(height * config.aspect[1]))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def resized(image: Tensor, box: Box, size: int, interpolation: str) -> Tensor:
    """(3, size, size) uint8: the box of a (3, height, width) uint8 image, antialiased."""
    part = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if box.height == size and box.width == size:
        return part
    return interpolate(part[None], (size, size), mode=interpolation, antialias=True)[0]


def shifted(images: Tensor, draws: NDArray[np.float64], border: int, border_mode: str) -> Tensor:
    """(batch, 3, size, size): each image moved by up to `border` pixels both ways.

    Args:
        images: uint8.
        draws: (batch, 2) uniform in [0, 1).
        border: pixels around the image that a crop may show.
        border_mode: "reflect" or "constant", which is black.
    """
    height, width = images.shape[-2:]
    moves = torch.from_numpy((draws * (2 * border + 1)).astype(np.int64) - border)
    rows = torch.arange(height)[None] + moves[:, :1]
    columns = torch.arange(width)[None] + moves[:, 1:]
    inside = None
    if border_mode == "constant":
        row_in, column_in = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        inside = (row_in[:, :, None] & column_in[:, None, :])[:, None]
    rows, columns = _reflected(rows, height), _reflected(columns, width)
    batch = torch.arange(len(images))[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    moved = images[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return moved if inside is None else torch.where(inside, moved, torch.zeros_like(moved))


def _reflected(place: Tensor, length: int) -> Tensor:
    """Places outside 0..length - 1 mirrored at the outermost pixels, which are not repeated."""
    period = max(2 * (length - 1), 1)
    folded = place.remainder(period)
    return torch.minimum(folded, period - folded).clamp(max=length - 1)
