"""Convolution with either padding, and convolution + normalisation + activation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from stages.vision.layers.activations import activation_function
from stages.vision.layers.shapes import Activation, Padding, same_pads


@dataclass(frozen=True)
class Window:
    """What a convolution sees and how it moves; the same along height and width.

    Attributes:
        kernel: taps along an axis, odd.
        stride: pixels between outputs.
        dilation: pixels between taps.
        padding: where the padding goes when the stride is above 1. Either way an input of `n`
            pixels gives ceil(n / stride).
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: Padding = "symmetric"

    @property
    def symmetric_pad(self) -> int:
        """Pixels at either side."""
        return self.dilation * (self.kernel - 1) // 2

    @property
    def depends_on_size(self) -> bool:
        """Whether the padding is known only when the input is: TensorFlow's at strides above 1."""
        return self.padding == "same" and self.stride > 1

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) for an input of this size, in the order of `pad`."""
        if not self.depends_on_size:
            return (self.symmetric_pad,) * 4
        top, bottom = same_pads(height, self.kernel, self.stride, self.dilation)
        left, right = same_pads(width, self.kernel, self.stride, self.dilation)
        return left, right, top, bottom


@torch.no_grad()
def he_fan_out_(weight: Tensor, groups: int = 1) -> None:
    """N(0, sqrt(2 / fan_out)), fan_out = kernel positions * outputs per group, in place.

    A depthwise kernel has a fan-out of its positions alone, as in TensorFlow; without the division
    by `groups` its values would be too small by sqrt(channels).
    """
    if weight.is_meta:
        return  # as it would stay, a thousand times faster
    fan_out = math.prod(weight.shape[2:]) * weight.shape[0] // groups
    weight.normal_(0.0, math.sqrt(2.0 / fan_out))


class Conv2d(nn.Conv2d):
    """nn.Conv2d over a `Window`: no bias unless asked for, He initialisation by fan-out."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        window: Window,
        *,
        groups: int = 1,
        bias: bool = False,
    ):
        self.window = window
        super().__init__(
            in_channels,
            out_channels,
            window.kernel,
            stride=window.stride,
            padding=0 if window.depends_on_size else window.symmetric_pad,
            dilation=window.dilation,
            groups=groups,
            bias=bias,
        )

    @override
    def reset_parameters(self) -> None:
        he_fan_out_(self.weight, self.groups)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self._is_product(input):
            y = functional.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return y.permute(0, 3, 1, 2)
        if not self.window.depends_on_size:
            return super().forward(input)
        return convolve(input, self.weight, self.bias, self.window, self.groups)

    def _is_product(self, x: Tensor) -> bool:
        """Whether a matrix product over channels does it: 1x1, channels_last, on a CPU.

        It is a tenth faster than the convolution there, and far more so with few images on one
        thread, which torch gives to a slower kernel.
        """
        return (
            self.window.kernel == self.window.stride == self.groups == 1
            and x.device.type == "cpu"
            and not torch.compiler.is_compiling()
            and x.is_contiguous(memory_format=torch.channels_last)
        )


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int = 1
) -> Tensor:
    """conv2d with the window's padding; a pad that is symmetric costs no copy."""
    left, right, top, bottom = window.pads(x.shape[-2], x.shape[-1])
    pad = (top, left)
    if left != right or top != bottom:
        x = functional.pad(x, (left, right, top, bottom))
        pad = (0, 0)
    return functional.conv2d(x, weight, bias, window.stride, pad, window.dilation, groups)


@dataclass(frozen=True)
class Norm:
    """Constants of batch normalisation; `momentum` is the weight of the new batch."""

    eps: float
    momentum: float

    def __call__(self, channels: int) -> nn.BatchNorm2d:
        """A normalisation of so many channels: scale 1, shift 0."""
        return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, activation (`identity` for none)."""

    def __init__(self, conv: nn.Module, norm: nn.BatchNorm2d, activation: Activation):
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activation: Callable[[Tensor], Tensor] = activation_function(activation)

    @override
    def forward(self, x: Tensor, routing: Tensor | None = None) -> Tensor:
        """(batch, channels, height, width); `routing` is for a conditional convolution."""
        y = self.conv(x) if routing is None else self.conv(x, routing)
        return self.activation(self.norm(y))
