"""Mixup and CutMix: two examples of a batch in one image, and how much of each."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.training.seeding import generator
from stages.vision.augment.config import AugmentConfig


@dataclass(frozen=True)
class Mix:
    """How each example is mixed with its partner, the one at the mirrored place of the batch.

    Attributes:
        share: (batch,) float32 of the example itself, 0.5 to 1 with mixup; 1 is unmixed.
        boxes: (batch, 4) float32 top, left, bottom, right of what comes from the partner, as parts
            of the image; empty where the whole image is blended.
    """

    share: Tensor
    boxes: Tensor


def draw_mix(
    config: AugmentConfig, seed: int, epoch: NDArray[np.int64], sample: NDArray[np.int64]
) -> Mix:
    """Draws for each example on its own whether it is cut or blended, and how.

    Source: Zhang et al. 2018, arXiv:1710.09412, with the larger share for the example itself as in
    the released code of EfficientNet; Yun et al. 2019, arXiv:1905.04899.
    """
    share = np.ones(len(sample), np.float32)
    boxes = np.zeros((len(sample), 4), np.float32)
    for place, (number, example) in enumerate(zip(epoch.tolist(), sample.tolist(), strict=True)):
        rng = generator(seed, "mix", number, example)
        cuts = config.cutmix_alpha > 0 and (config.mixup_alpha == 0 or rng.random() < 0.5)
        alpha = config.cutmix_alpha if cuts else config.mixup_alpha
        kept = rng.beta(alpha, alpha)
        if not cuts:
            share[place] = max(kept, 1 - kept)
            continue
        half = np.sqrt(1 - kept) / 2
        y, x = rng.random(2)
        boxes[place] = np.clip((y - half, x - half, y + half, x + half), 0, 1)
    return Mix(torch.from_numpy(share), torch.from_numpy(boxes))


def mix(images: Tensor, how: Mix) -> tuple[Tensor, Tensor]:
    """Mixes each image with its partner's.

    Args:
        images: (batch, channels, height, width) float.
        how: on the same device.

    Returns:
        The mixed images, and (batch,) the share of the example itself, counted in pixels.
    """
    partner = images.flip(0)
    share = how.share.to(images.dtype)[:, None, None, None]
    blended = partner + share * (images - partner)
    height, width = images.shape[-2:]
    edges = (how.boxes * how.boxes.new_tensor((height, width, height, width))).round()
    top, left, bottom, right = edges[:, :, None, None].unbind(1)
    y = torch.arange(height, device=images.device)[None, :, None]
    x = torch.arange(width, device=images.device)[None, None, :]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    cut = inside.float().mean((1, 2))
    return torch.where(inside[:, None], partner, blended), how.share - cut
