"""One image file checked, shrunk and encoded anew as the configuration asks."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from data_prep.images_config import ImagesConfig

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
"""Decoders that are tried: Pillow has others that start programs or read other files."""

_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
MAX_PIXELS = 89_478_485
"""An image of more is refused unread: a few bytes can claim to be gigabytes. Pillow's own limit."""

_DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, OverflowError),
    *(TypeError, KeyError, IndexError, AttributeError, MemoryError, Image.DecompressionBombError),
)
"""What Pillow's decoders raise for files that are none, or damaged."""


class BrokenImageError(Exception):
    """Not a readable image; the message says why and names no file."""


def prepare(data: bytes, config: ImagesConfig) -> tuple[bytes, str]:
    """Decodes the whole image, and encodes it anew where it must change.

    Orientation tags are not followed, as torchvision's ImageFolder does not.

    Returns:
        The bytes to keep, and their suffix: "jpg", "png" or "webp".

    Raises:
        BrokenImageError: it cannot be decoded, or is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                msg = f"{image.width}x{image.height} pixels; over {MAX_PIXELS} are refused"
                raise BrokenImageError(msg)
            image.load()
            if _stays(image, config):
                return data, _SUFFIXES[str(image.format)]
            return _encoded(_shrunk(_rgb(image), config), config)
    except _DAMAGE as exc:
        msg = f"not a readable image: {str(exc) or type(exc).__name__}"
        raise BrokenImageError(msg) from exc


def _stays(image: Image.Image, config: ImagesConfig) -> bool:
    wanted = config.encode == "keep" or _SUFFIXES.get(str(image.format)) == (
        "jpg" if config.encode == "jpeg" else "png"
    )
    plain = image.mode in ("RGB", "L", "P", "RGBA", "LA", "CMYK", "1") and (
        getattr(image, "n_frames", 1) == 1
    )
    side = config.shorter_side
    fits = side is None or min(image.size) <= side
    return wanted and plain and fits and image.format in _SUFFIXES


def _rgb(image: Image.Image) -> Image.Image:
    """As ImageFolder sees it; 16 bits a channel become 8, which Pillow alone would clip."""
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        msg = "floating-point pixels have no known range"
        raise BrokenImageError(msg)
    return image.convert("RGB")


def _shrunk(image: Image.Image, config: ImagesConfig) -> Image.Image:
    side = config.shorter_side
    shorter = min(image.size)
    if side is None or shorter <= side:
        return image
    width, height = (max(1, round(length * side / shorter)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _encoded(image: Image.Image, config: ImagesConfig) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    if config.encode == "jpeg":
        image.save(buffer, "JPEG", quality=config.jpeg_quality)
        return buffer.getvalue(), "jpg"
    image.save(buffer, "PNG")
    return buffer.getvalue(), "png"
