"""Arrays as data: addresses that a page can hold: images, colour maps, sound."""

import base64
import io
import wave

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 768
"""Pixels of an image's longer side; more are averaged."""
_PNG_BYTES = 120_000
"""A larger image goes as JPEG, where it is one of a camera."""
_JPEG_QUALITY = 85
_MAX_AUDIO_SECONDS = 20.0
_MAX_AUDIO_RATE = 16_000

# Anchors of viridis (Smith and van der Walt 2015), even in lightness, so it reads in grey too.
_VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137),
    (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip
_NOT_A_NUMBER = (128, 128, 128)


def image_url(pixels: NDArray[np.uint8]) -> str:
    """A picture (height, width, 3) uint8 as PNG, or as JPEG where that is much smaller."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    data = _saved(image, "PNG", optimize=True)
    if len(data) <= _PNG_BYTES:
        return _url("image/png", data)
    return _url("image/jpeg", _saved(image, "JPEG", quality=_JPEG_QUALITY))


def heat_url(values: NDArray[np.float32], low: float, high: float) -> str:
    """A matrix as a PNG of one pixel a cell (blocks are averaged above MAX_SIDE); grey is NaN."""
    values = _pooled(values)
    is_number = np.isfinite(values)
    span = high - low if high > low else 1.0
    scaled = np.clip((np.where(is_number, values, low) - low) / span, 0, 1)
    index = np.where(is_number, 1 + np.round(scaled * 254), 0).astype(np.uint8)
    image = Image.fromarray(index)
    image.putpalette(_palette())
    return _url("image/png", _saved(image, "PNG", optimize=True))


def heat_gradient() -> str:
    """The colours of `heat_url`, low to high, as a CSS gradient."""
    return "linear-gradient(90deg," + ",".join(f"rgb{c}".replace(" ", "") for c in _VIRIDIS) + ")"


def audio_url(samples: NDArray[np.float32], sample_rate: int) -> str:
    """A clip as a 16-bit WAV file; cut after 20 seconds, rates above 16 kHz halved by averaging."""
    samples = samples[: int(_MAX_AUDIO_SECONDS * sample_rate)]
    factor = max(1, sample_rate // _MAX_AUDIO_RATE)
    samples = samples[: len(samples) // factor * factor].reshape(-1, factor).mean(axis=1)
    clean = np.nan_to_num(np.clip(samples, -1, 1))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(max(1, sample_rate // factor))
        file.writeframes((clean * 32767).astype("<i2").tobytes())
    return _url("audio/wav", buffer.getvalue())


def envelope(samples: NDArray[np.float32], num_bars: int) -> list[tuple[float, float]]:
    """(lowest, highest) of each of at most `num_bars` equal parts of a clip."""
    parts = np.array_split(np.nan_to_num(samples), min(num_bars, max(1, len(samples))))
    return [(float(p.min()), float(p.max())) for p in parts if len(p)]


def _pooled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    for axis in (0, 1):
        factor = -(-values.shape[axis] // MAX_SIDE)
        if factor > 1:
            starts = np.arange(0, values.shape[axis], factor)
            sums = np.add.reduceat(values, starts, axis=axis)
            counts = np.diff(np.append(starts, values.shape[axis]))
            means = sums / (counts[:, None] if axis == 0 else counts)
            values = means.astype(np.float32)
    return values


def _palette() -> bytes:
    anchors = np.array(_VIRIDIS, dtype=float)
    places = np.linspace(0, len(anchors) - 1, 255)
    channels = [np.interp(places, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    colours = np.round(np.stack(channels, axis=1)).astype(np.uint8)
    return bytes(_NOT_A_NUMBER) + colours.tobytes()


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
