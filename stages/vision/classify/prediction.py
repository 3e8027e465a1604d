"""Predictions of a split: made in equal shares by the ranks, written as one file."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import DataError
from pipeline.shards import ImageShards
from pipeline.storage.files import replace_file
from stages.vision.images.batches import ImageReader, normalised

PREDICTIONS_FILE = "predictions.jsonl"
_SHOWN_CLASSES = 10
"""Probabilities that a line of the file holds: the highest."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of some images.

    Attributes:
        images: (images,) int64 which ones of the split, rising.
        probs: (images, classes) float32.
    """

    images: NDArray[np.int64]
    probs: NDArray[np.float32]


def open_split(folder: Path, split: str) -> ImageShards:
    """A split with labels.

    Raises:
        DataError: there is no such split, or it has no labels or images.
    """
    shards = ImageShards(folder, split)
    if not len(shards) or not shards.class_names:
        msg = f"{folder}: split {split!r} has no labelled images"
        raise DataError(msg)
    return shards


def predict(
    network: nn.Module,
    reader: ImageReader,
    images: NDArray[np.int64],
    *,
    num_forwards: int,
    size: int,
) -> Predictions:
    """Softmax outputs; the next batch is decoded while the network computes.

    Args:
        network: in evaluation mode.
        reader: of the split.
        images: which ones; at least one.
        num_forwards: batches, the same on every rank; those too many see the first image again.
        size: of a batch.

    Raises:
        DataError: an image is broken.
    """
    device = next(network.parameters()).device
    found = []

    def load(begin: int) -> Tensor:
        mine = images[begin : begin + size]
        return reader.central(mine if len(mine) else images[:1])

    for begin, pixels in _ahead(load, range(0, num_forwards * size, size)):
        logits = network(normalised(pixels.to(device), reader.frame.statistics))
        count = min(size, max(0, len(images) - begin))
        found.append(logits.float().softmax(1)[:count].cpu())
    return Predictions(images, torch.cat(found).numpy())


def _ahead(load: Callable[[int], Tensor], places: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """(place, what `load` gives), one of them loaded ahead on a thread of its own."""
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        following = pool.submit(load, places[0])
        for place, after in zip(places, [*places[1:], None], strict=True):
            current = following.result()
            if after is not None:
                following = pool.submit(load, after)
            yield place, current


def write_predictions(folder: Path, shards: ImageShards, probs: NDArray[np.float32]) -> None:
    """Writes a line for each image of a split.

    Args:
        folder: of the PREDICTIONS output.
        shards: the split.
        probs: (images, classes).
    """
    classes = shards.class_names
    best = np.argsort(-probs, axis=1, kind="stable")[:, :_SHOWN_CLASSES]
    lines = []
    for i, (name, label) in enumerate(zip(shards.names, shards.labels.tolist(), strict=True)):
        line = {
            "image": name,
            "label": classes[label],
            "predicted": classes[best[i, 0]],
            "probs": {classes[k]: round(float(probs[i, k]), 6) for k in best[i]},
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    replace_file(folder / PREDICTIONS_FILE, ("\n".join(lines) + "\n").encode())
