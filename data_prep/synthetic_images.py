"""Generated images: what they show is chance, but for the direction of some stripes."""

import random

import numpy as np
from PIL import Image

_CYCLES = 10.0
"""Stripes across an image, as many at every size: small images show them only just."""


def striped_disc(rng: random.Random, size: int, angle: float) -> Image.Image:
    """A disc with stripes on a ground of another colour, and noise over all of it.

    Args:
        rng: what decides all but the stripes' direction.
        size: pixels of a side.
        angle: of the stripes, radians; angle and angle + pi are the same.
    """
    # Only random() of Python's generator is the same in every version.
    tilt = angle + (rng.random() - 0.5) * 0.3
    phase, cycles = 2 * np.pi * rng.random(), _CYCLES * (0.8 + 0.4 * rng.random())
    radius = 0.25 + 0.15 * rng.random()
    centre_x, centre_y = (radius + (1 - 2 * radius) * rng.random() for _ in range(2))
    colours = np.array([[rng.random() for _ in range(3)] for _ in range(3)])
    place = (np.arange(size) + 0.5) / size
    x, y = place[None, :], place[:, None]
    wave = np.sin(2 * np.pi * cycles * (x * np.cos(tilt) + y * np.sin(tilt)) + phase)
    inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
    stripe = np.where((wave > 0)[..., None], colours[0], colours[1])
    image = np.where(inside[..., None], stripe, colours[2])
    noise = np.random.Generator(np.random.PCG64(int(rng.random() * 2**53)))
    image = image + 0.06 * (noise.random((size, size, 3)) - 0.5)
    return Image.fromarray((255 * np.clip(image, 0, 1)).astype(np.uint8))
