"""MobileNetV3 Large and Small: every multiplier, minimalistic, and with half the last stage.

Source: Howard et al. 2019, arXiv:1905.02244, and its released code (slim). The squeeze-excite that
the paper's table 2 marks on Small's last convolution is in no code and would break its counts.
"""

from typing import Literal, NamedTuple

from stages.vision.backbones.building import Groups, common_of, dilated, width_of
from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.specs import MobileBlock, MobileSpec
from stages.vision.layers.shapes import Activation, round_width, scale_width

_NORM = (1e-3, 0.01)
_DROPOUT = 0.2  # the paper's 0.8 is what is kept
_RELU: Activation = "relu"
_SWISH: Activation = "hard_swish"
_SE, _NO = True, False


class Row(NamedTuple):
    """A row of the paper's tables 1 and 2."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    activation: Activation
    stride: int


_LARGE = (
    (Row(3, 16, 16, _NO, _RELU, 1),),
    (Row(3, 64, 24, _NO, _RELU, 2), Row(3, 72, 24, _NO, _RELU, 1)),
    (
        Row(5, 72, 40, _SE, _RELU, 2),
        Row(5, 120, 40, _SE, _RELU, 1),
        Row(5, 120, 40, _SE, _RELU, 1),
    ),
    (
        Row(3, 240, 80, _NO, _SWISH, 2),
        Row(3, 200, 80, _NO, _SWISH, 1),
        Row(3, 184, 80, _NO, _SWISH, 1),
        Row(3, 184, 80, _NO, _SWISH, 1),
    ),
    (Row(3, 480, 112, _SE, _SWISH, 1), Row(3, 672, 112, _SE, _SWISH, 1)),
    (
        Row(5, 672, 160, _SE, _SWISH, 2),
        Row(5, 960, 160, _SE, _SWISH, 1),
        Row(5, 960, 160, _SE, _SWISH, 1),
    ),
)
_SMALL = (
    (Row(3, 16, 16, _SE, _RELU, 2),),
    (Row(3, 72, 24, _NO, _RELU, 2), Row(3, 88, 24, _NO, _RELU, 1)),
    (
        Row(5, 96, 40, _SE, _SWISH, 2),
        Row(5, 240, 40, _SE, _SWISH, 1),
        Row(5, 240, 40, _SE, _SWISH, 1),
    ),
    (Row(5, 120, 48, _SE, _SWISH, 1), Row(5, 144, 48, _SE, _SWISH, 1)),
    (
        Row(5, 288, 96, _SE, _SWISH, 2),
        Row(5, 576, 96, _SE, _SWISH, 1),
        Row(5, 576, 96, _SE, _SWISH, 1),
    ),
)
_STEM = 16
_HEAD_RATIO = 6  # channels of the last convolution over those of the last block
Tail = Literal["full", "segmentation", "detection"]


def v3_spec(options: BackboneOptions, groups: Groups) -> MobileSpec:
    """MobileNetV3.

    Raises:
        ValueError: the options contradict the name.
    """
    width, rule = width_of(options, groups), options.width_rule or "tf"
    large, minimal = groups["size"] == "large", bool(groups.get("minimal"))
    tail = options.tail or "full"
    table = _halved(_LARGE if large else _SMALL, tail)
    if minimal:
        table = tuple(
            tuple(row._replace(kernel=3, squeezes=False, activation=_RELU) for row in stage)
            for stage in table
        )
    hidden = (1280 if large else 1024) // (1 if tail == "full" else 2)
    scale_hidden = rule == "torchvision" if options.scale_hidden is None else options.scale_hidden
    stem = _STEM if rule == "timm" and width < 0.75 else scale_width(_STEM, width)
    stem_stride = 1 if options.stem == "small" else 2
    last = table[-1][-1].out * _HEAD_RATIO
    head = _HEAD_RATIO * scale_width(table[-1][-1].out, width)
    activation: Activation = _RELU if minimal else _SWISH
    return MobileSpec(
        common=common_of(options, padding="same", norm=_NORM, dropout=_DROPOUT, init="truncated"),
        stem=stem,
        stem_stride=stem_stride,
        activation=activation,
        squeeze_activation=_RELU,
        gate="hard_sigmoid",
        stages=_stages(table, stem, width, rule, (stem_stride, options.output_stride or 32)),
        head=head if rule == "torchvision" else scale_width(last, width),
        head_experts=0,
        hidden=scale_width(hidden, width) if scale_hidden else hidden,
    )


def _halved(table: tuple[tuple[Row, ...], ...], tail: Tail) -> tuple[tuple[Row, ...], ...]:
    """The last stage with half the channels.

    For detection the expansion of its first block stays, since it is a feature map of the detector
    (C4); for segmentation it is halved too.
    """
    if tail == "full":
        return table
    first, *rest = table[-1]
    if tail == "segmentation":
        first = first._replace(expanded=first.expanded // 2)
    stage = [first, *(row._replace(expanded=row.expanded // 2) for row in rest)]
    return (*table[:-1], tuple(row._replace(out=row.out // 2) for row in stage))


def _stages(
    table: tuple[tuple[Row, ...], ...],
    stem: int,
    width: float,
    rule: str,
    strides: tuple[int, int],
) -> tuple[tuple[MobileBlock, ...], ...]:
    """Blocks of the table at a width multiplier; `strides` are (of the stem, greatest total)."""
    moves = iter(dilated([row.stride for stage in table for row in stage], *strides))
    channels, original, stages = stem, _STEM, []
    for stage in table:
        blocks = []
        for row in stage:
            stride, dilation = next(moves)
            out = scale_width(row.out, width)
            if rule == "torchvision":
                expanded = scale_width(row.expanded, width)
            elif width == 1.0:
                expanded = row.expanded
            else:
                expanded = round_width(channels * (row.expanded / original))
            if row.expanded == original:
                expanded = channels
            blocks.append(
                MobileBlock(
                    kernel=row.kernel,
                    stride=stride,
                    dilation=dilation,
                    width=channels,
                    expanded=expanded,
                    out=out,
                    squeezed=round_width(expanded / 4) if row.squeezes else 0,
                    activation=row.activation,
                    residual=channels == out and row.stride == 1,
                )
            )
            channels, original = out, row.out
        stages.append(tuple(blocks))
    return tuple(stages)
