"""Batches of images for training and evaluation: decoded by threads, augmented together."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.shards import ImageShards
from stages.vision.augment import policies
from stages.vision.augment.config import STATISTICS, AugmentConfig
from stages.vision.augment.draws import uniforms
from stages.vision.augment.operations import apply, squares
from stages.vision.images.config import FrameConfig
from stages.vision.images.crops import (
    DRAWS_AN_ATTEMPT,
    NUM_ATTEMPTS,
    Box,
    central_box,
    random_box,
    resized,
    shifted,
)
from stages.vision.images.decode import decode

Indexes = NDArray[np.int64]
_NUM_BOX_DRAWS = NUM_ATTEMPTS * DRAWS_AN_ATTEMPT
_OTHER_DRAWS = 5  # flip, and two places: of the shift and of the cutout


@dataclass(frozen=True)
class Pixels:
    """A batch before it is normalised.

    Attributes:
        images: (batch, 3, size, size) uint8.
        hidden: (batch, 1, size, size) bool, what shall become the mean; None where nothing shall.
    """

    images: Tensor
    hidden: Tensor | None


class ImageReader:
    """Decodes images of one split at one size; the threads end with `close`."""

    def __init__(self, shards: ImageShards, frame: FrameConfig, *, threads: int) -> None:
        """`threads` decode at the same time; with 1 it is done by who asks."""
        self.shards = shards
        self.frame = frame
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "decode") if threads > 1 else None

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def central(self, indexes: Indexes) -> Tensor:
        """(batch, 3, size, size) uint8 as evaluation sees images.

        Raises:
            DataError: an image is broken.
        """
        fraction = self.frame.crop_fraction
        return self.read(indexes, lambda _, height, width: central_box(height, width, fraction))

    def read(self, indexes: Indexes, box: Callable[[int, int, int], Box]) -> Tensor:
        """(batch, 3, size, size) uint8.

        Args:
            indexes: (batch,) of the images.
            box: (place in the batch, height, width) -> which part is seen.

        Raises:
            DataError: an image is broken.
        """
        size = self.frame.size
        batch = torch.empty(len(indexes), 3, size, size, dtype=torch.uint8)

        def work(places: range) -> None:
            for place in places:
                image = decode(self.shards, int(indexes[place]))
                part = box(place, image.shape[1], image.shape[2])
                batch[place] = resized(image, part, size, self.frame.interpolation)

        if self._pool is None:
            work(range(len(indexes)))
        else:
            # Every n-th: neighbours in a batch are no harder or easier than others.
            parts = [range(i, len(indexes), self._threads) for i in range(self._threads)]
            list(self._pool.map(work, parts))
        return batch


class TrainingImages:
    """Augmented batches; every draw is a function of (seed, epoch, image) alone."""

    def __init__(self, reader: ImageReader, config: AugmentConfig, *, seed: int) -> None:
        self._reader = reader
        self._config = config
        self._seed = seed
        self._num_policy = policies.num_draws(config.policy)

    def read(self, epoch: Indexes, indexes: Indexes) -> Pixels:
        """The images of a batch.

        Args:
            epoch: (batch,) in which each is seen.
            indexes: (batch,) which images.

        Raises:
            DataError: an image is broken.
        """
        config, crop = self._config, self._config.crop
        count = _NUM_BOX_DRAWS + _OTHER_DRAWS + self._num_policy
        draws = uniforms(self._seed, "augment", epoch, indexes, count)
        if crop.kind == "random_resized":
            boxes = draws[:, :_NUM_BOX_DRAWS]
            images = self._reader.read(
                indexes, lambda place, h, w: random_box(boxes[place], h, w, crop)
            )
        else:
            images = self._reader.central(indexes)
        other = draws[:, _NUM_BOX_DRAWS : _NUM_BOX_DRAWS + _OTHER_DRAWS]
        if crop.kind == "pad" and crop.border:
            images = shifted(images, other[:, 1:3], crop.border, crop.border_mode)
        flips = torch.from_numpy(other[:, 0] < crop.flip_prob)[:, None, None, None]
        if crop.flip_prob:
            images = torch.where(flips, images.flip(3), images)
        images, covered = self._operated(images, draws[:, _NUM_BOX_DRAWS + _OTHER_DRAWS :])
        hidden = None if covered is None else ~covered
        if config.cutout:
            sides = np.full(len(indexes), config.cutout)
            holes = squares(other[:, 3:5], sides, images)
            hidden = holes if hidden is None else hidden | holes
        return Pixels(images, hidden)

    def _operated(self, images: Tensor, draws: NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
        policy = self._config.policy
        if policy.kind == "none":
            return images, None
        plan = policies.plan(policy, draws, *images.shape[-2:])
        covered = torch.ones_like(images[:, :1], dtype=torch.bool)
        fill = policies.V0_FILL.get(policy.kind, 0)
        for place in range(plan.ops.shape[1]):
            images, covered = apply(
                images,
                covered,
                plan.ops[:, place],
                plan.values[:, place],
                centres=plan.centres[:, place],
                fill=fill,
            )
        # Only UDA's rule leaves the mean where a picture moved away; the others leave the fill.
        return images, covered if policy.kind == "randaugment_uda" else None


def normalised(images: Tensor, statistics: str, hidden: Tensor | None = None) -> Tensor:
    """(batch, 3, size, size) float32 of mean 0 and deviation 1 over the data set.

    Args:
        images: uint8, on any device.
        statistics: whose; a name of `STATISTICS`.
        hidden: pixels that become 0, the mean.
    """
    mean, std = (images.new_tensor(v, dtype=torch.float32) for v in STATISTICS[statistics])
    scaled = (images.to(torch.float32) / 255 - mean[:, None, None]) / std[:, None, None]
    return scaled if hidden is None else scaled.masked_fill(hidden, 0.0)
