"""Configuration of augmentation; needs no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.spec.config import StageConfig

_Positive = Annotated[float, Field(gt=0)]

PolicyKind = Literal[
    "none",
    "randaugment",
    "randaugment_uda",
    "autoaugment_imagenet",
    "autoaugment_imagenet_v0",
    "autoaugment_cifar10",
    "autoaugment_svhn",
]

STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
    "svhn": ((0.4376821, 0.4437697, 0.47280442), (0.19803012, 0.20101562, 0.19703614)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and deviation of the channels, of values from 0 to 1; `half` is [-1, 1]."""


class PolicyConfig(StageConfig):
    """Random operations on the pixels."""

    kind: PolicyKind = Field(
        "none",
        description="randaugment: torchvision's rule; randaugment_uda: that of the UDA paper; "
        "autoaugment_imagenet: the paper's list as torchvision has it; _v0: EfficientNet's",
    )
    num_ops: int = Field(2, gt=0, description="randaugment: operations an image")
    magnitude: int = Field(9, ge=0, le=30, description="randaugment: strength of all of them")

    @model_validator(mode="after")
    def _options_belong_to_randaugment(self) -> Self:
        if self.kind != "randaugment" and (self.num_ops, self.magnitude) != (2, 9):
            msg = f"num_ops and magnitude go with kind: randaugment, not {self.kind}"
            raise ValueError(msg)
        return self


class CropConfig(StageConfig):
    """Which part of an image is seen in training."""

    kind: Literal["random_resized", "pad", "none"] = Field(
        "random_resized",
        description="pad: a crop of the image with a border; none: as in evaluation",
    )
    area: tuple[_Positive, _Positive] = Field(
        (0.08, 1.0), description="random_resized: share of the image's area"
    )
    aspect: tuple[_Positive, _Positive] = Field(
        (3 / 4, 4 / 3), description="random_resized: width over height"
    )
    border: int = Field(4, ge=0, description="pad: pixels on each side")
    border_mode: Literal["reflect", "constant"] = "reflect"
    flip_prob: float = Field(0.5, ge=0, le=1, description="of a horizontal flip")

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        if self.area[0] > self.area[1] or self.area[1] > 1 or self.aspect[0] > self.aspect[1]:
            msg = "area and aspect are (least, greatest); an area is at most 1"
            raise ValueError(msg)
        return self


class AugmentConfig(StageConfig):
    """What happens to an image in training. Without any of it, images are seen as in evaluation."""

    crop: CropConfig = CropConfig()
    policy: PolicyConfig = PolicyConfig()
    cutout: int = Field(0, ge=0, description="side of a square set to the mean, pixels; 0 = none")
    mixup_alpha: float = Field(0.0, ge=0, description="Beta(alpha, alpha); 0 = no mixup")
    cutmix_alpha: float = Field(
        0.0, ge=0, description="the same for cutmix; with both, a batch gets either"
    )
