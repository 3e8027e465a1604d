"""One encoded image to pixels."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode

from pipeline.shards import ImageShards

_NATIVE: Any = getattr(torch.ops.image, "decode_image", None)
"""torchvision's decoders; absent in a torchvision without them, which says of its Python functions
around them (not called here: each call warns) that they will go. Pillow does it all then."""


def decode(shards: ImageShards, i: int) -> Tensor:
    """(3, height, width) uint8 pixels of picture `i`.

    torchvision's decoders first: on JPEG they take about half of Pillow's time and hold no lock
    of the interpreter. Pillow reads what they do not, such as JPEG in CMYK.

    Raises:
        DataError: it cannot be decoded; names shard, offset and source.
    """
    data = shards.encoded(i)
    if _NATIVE is None:
        return _by_pillow(shards, i, data)
    try:
        # A copy, of the encoded bytes only: torch warns of memory that cannot be written to.
        file = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels: Tensor = _NATIVE(file, ImageReadMode.RGB.value, False)  # noqa: FBT003 - its signature
    except (RuntimeError, ValueError):
        return _by_pillow(shards, i, data)
    return pixels


def _by_pillow(shards: ImageShards, i: int, data: memoryview) -> Tensor:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            pixels = np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise shards.broken(i, f"cannot be decoded: {exc}") from exc
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
