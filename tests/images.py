"""Small pictures for tests: encoded bytes, folders of them, shards."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.shards import ImageShardWriter


def pixels(seed: int, height: int = 12, width: int = 12) -> NDArray[np.uint8]:
    """(height, width, 3): smooth, so that JPEG keeps it about as it is."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))


def encoded(image: NDArray[np.uint8] | Image.Image, kind: str = "PNG") -> bytes:
    """A file's bytes."""
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind)
    return buffer.getvalue()


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Files by relative name."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def class_tree(folder: Path, classes: Sequence[str], count: int, *, prefix: str = "") -> Path:
    """`count` PNGs in each of the class folders; picture i of class c is pixels(100 c + i)."""
    files = {
        f"{prefix}{name}/{i:03d}.png": encoded(pixels(100 * c + i))
        for c, name in enumerate(classes)
        for i in range(count)
    }
    return write_tree(folder, files)


def image_shards(
    folder: Path,
    pictures: Sequence[NDArray[np.uint8]],
    labels: Sequence[int],
    *,
    split: str = "train",
    classes: Sequence[str] = ("a", "b"),
) -> Path:
    """Shards of one unit of these pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with ImageShardWriter(folder, class_names=classes) as writer:
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            writer.add(split, encoded(picture), suffix="png", name=f"{i}.png", label=label)
    return folder
