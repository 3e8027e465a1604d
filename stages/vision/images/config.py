"""Configuration of reading images; needs no torch."""

from typing import Literal

from pydantic import Field

from pipeline.spec.config import StageConfig


class FrameConfig(StageConfig):
    """What a network sees of an image."""

    size: int = Field(224, gt=0, description="pixels of a side")
    crop_fraction: float = Field(
        0.875, gt=0, le=1, description="evaluation: side of the central square / shorter side"
    )
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    statistics: Literal["imagenet", "cifar10", "svhn", "half"] = Field(
        "imagenet", description="whose mean and deviation; half: values from -1 to 1"
    )
