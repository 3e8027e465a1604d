"""Layers as the specification of a block asks for them."""

from collections.abc import Sequence

from torch import nn

from stages.vision.backbones.specs import Attended, Common
from stages.vision.layers.attention import AAConv2d, Heads, attention_widths
from stages.vision.layers.condconv import CondConv2d
from stages.vision.layers.convolution import Conv2d, Norm, Window


def norm_of(common: Common) -> Norm:
    """Batch normalisation with the network's constants."""
    return Norm(common.norm_eps, common.norm_momentum)


def conv_of(
    in_channels: int, out_channels: int, window: Window, *, groups: int = 1, experts: int = 0
) -> nn.Module:
    """A convolution, of experts where there are any."""
    if experts:
        return CondConv2d(in_channels, out_channels, window, groups=groups, experts=experts)
    return Conv2d(in_channels, out_channels, window, groups=groups)


def attended_conv(
    in_channels: int,
    out_channels: int,
    window: Window,
    attended: Attended,
    *,
    stride: int,
    pooled: bool = False,
) -> AAConv2d:
    """A convolution augmented with attention, its tables made for the network's image size.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        window: of the convolution.
        attended: attention of the network.
        stride: of the output map in the image.
        pooled: whether attention works on a map of half the size.
    """
    keys, values = attention_widths(
        out_channels, attended.kappa, attended.upsilon, attended.heads, attended.min_head
    )
    heads = Heads(keys, values, attended.heads, attended.relative, attended.table_init)
    height, width = shrunk(attended.image_size, stride * (2 if pooled else 1))
    return AAConv2d(
        in_channels, out_channels, window, heads=heads, grid=(height, width), pooled=pooled
    )


def shrunk(size: Sequence[int], stride: int) -> tuple[int, int]:
    """(height, width) of a map of total stride `stride`, rounded up."""
    height, width = (-(-n // stride) for n in size)
    return height, width
