"""Names of activations and paddings, arithmetic of widths and depths; needs no torch."""

import math
from typing import Literal

Padding = Literal["same", "symmetric"]
"""`same`: TensorFlow's, the odd pixel to the right and below. `symmetric`: PyTorch's."""

Activation = Literal["identity", "relu", "relu6", "silu", "hard_swish", "sigmoid", "hard_sigmoid"]


def round_width(width: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one of it and not below 90 % of `width`.

    Source: released TF code of MobileNet and EfficientNet, `make_divisible` and `round_filters`.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def scale_width(width: int, factor: float, divisor: int = 8) -> int:
    """`width` times `factor`, rounded; exactly `width` at factor 1."""
    return width if factor == 1.0 else round_width(width * factor, divisor)


def scale_depth(layers: int, factor: float) -> int:
    """Layers of a stage after depth scaling: rounded up."""
    return math.ceil(layers * factor)


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) so that the output has ceil(size / stride) positions, as TensorFlow pads."""
    reach = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
