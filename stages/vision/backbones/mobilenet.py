"""MobileNetV1, MobileNetV2 and MnasNet-A1, with experts or attention too.

Sources: Howard et al. 2017, arXiv:1704.04861; Sandler et al. 2018, arXiv:1801.04381; Tan et al.
2019, arXiv:1807.11626; which layers have experts: Yang et al. 2019, arXiv:1904.04971, as its
published costs pin them; attention: Bello et al. 2019, arXiv:1904.09925.
"""

from dataclasses import replace
from typing import NamedTuple

from stages.vision.backbones.building import (
    Groups,
    attended_of,
    common_of,
    dilated,
    experts_of,
    width_of,
)
from stages.vision.backbones.options import BackboneOptions, ConditionalConfig
from stages.vision.backbones.specs import MobileBlock, MobileSpec
from stages.vision.layers.shapes import Activation, scale_width

_NORM = (1e-3, 0.01)
_DROPOUT = 0.2


class Row(NamedTuple):
    """Layers of inverted residual blocks; `squeeze` is the share of a block's input channels."""

    layers: int
    kernel: int
    stride: int
    expansion: int
    out: int
    squeeze: float = 0.0


_V1 = (
    Row(1, 3, 1, 1, 64),
    Row(2, 3, 2, 1, 128),
    Row(2, 3, 2, 1, 256),
    Row(6, 3, 2, 1, 512),
    Row(2, 3, 2, 1, 1024),
)
_V2 = (
    Row(1, 3, 1, 1, 16),
    Row(2, 3, 2, 6, 24),
    Row(3, 3, 2, 6, 32),
    Row(4, 3, 2, 6, 64),
    Row(3, 3, 1, 6, 96),
    Row(3, 3, 2, 6, 160),
    Row(1, 3, 1, 6, 320),
)
_MNASNET = (
    Row(1, 3, 1, 1, 16),
    Row(2, 3, 2, 6, 24),
    Row(3, 5, 2, 3, 40, 0.25),
    Row(4, 3, 2, 6, 80),
    Row(2, 3, 1, 6, 112, 0.25),
    Row(3, 5, 2, 6, 160, 0.25),
    Row(1, 3, 1, 6, 320),
)
_V1_FIRST_CONDITIONAL = 6
_V2_FIRST_CONDITIONAL = 7
_MNASNET_FIRST_CONDITIONAL = 11
_MNASNET_ATTENTION = (0.1, 0.05, 4, 1)  # published sizes leave no room for a least key width
_MNASNET_LARGEST_ATTENDED = 16  # total stride of 14 x 14 maps at 224 pixels


def v1_spec(options: BackboneOptions, groups: Groups) -> MobileSpec:
    """MobileNetV1: separable convolutions, ReLU6 after both halves, no head convolution.

    Raises:
        ValueError: the options contradict the name.
    """
    spec = _spec(options, groups, _V1, "relu6", head=0)
    stages = tuple(
        tuple(replace(b, activates_output=True, residual=False) for b in stage)
        for stage in spec.stages
    )
    spec = replace(spec, stages=stages, common=replace(spec.common, dropout=options.dropout or 0.0))
    experts = experts_of(options, groups)
    if not experts:
        return spec
    return with_experts(
        spec, experts, options.conditional, begin=_V1_FIRST_CONDITIONAL, classifier=True
    )


def v2_spec(options: BackboneOptions, groups: Groups) -> MobileSpec:
    """MobileNetV2; the head keeps 1280 channels at multipliers below 1.

    Raises:
        ValueError: the options contradict the name.
    """
    head = max(1280, scale_width(1280, width_of(options, groups)))
    spec = _spec(options, groups, _V2, "relu6", head=head)
    experts = experts_of(options, groups)
    if not experts:
        return spec
    return with_experts(
        spec,
        experts,
        options.conditional,
        begin=_V2_FIRST_CONDITIONAL,
        head=True,
        classifier=True,
    )


def mnasnet_spec(options: BackboneOptions, groups: Groups) -> MobileSpec:
    """MnasNet-A1; attention is in the expansions of blocks whose input is 14 x 14 or smaller.

    Raises:
        ValueError: the options contradict the name.
    """
    spec = _spec(options, groups, _MNASNET, "relu", head=1280)
    experts = experts_of(options, groups)
    attended = attended_of(options, groups, _MNASNET_ATTENTION, spec.common.image_size)
    if attended is not None:
        spec = replace(
            spec,
            common=replace(spec.common, attended=attended),
            stages=_attended_stages(spec),
        )
    if not experts:
        return spec
    return with_experts(spec, experts, options.conditional, begin=_MNASNET_FIRST_CONDITIONAL)


def _attended_stages(spec: MobileSpec) -> tuple[tuple[MobileBlock, ...], ...]:
    total, stages = spec.stem_stride, []
    for stage in spec.stages:
        blocks = []
        for block in stage:
            expands = block.expanded != block.width
            blocks.append(replace(block, attended=expands and total >= _MNASNET_LARGEST_ATTENDED))
            total *= block.stride
        stages.append(tuple(blocks))
    return tuple(stages)


def with_experts(
    spec: MobileSpec,
    experts: int,
    given: ConditionalConfig | None,
    *,
    begin: int,
    head: bool = False,
    classifier: bool = False,
) -> MobileSpec:
    """Experts from block `begin` (from 1) on, in the head and the classifier; `given` overrides.

    Raises:
        ValueError: a choice that the network has no place for.
    """
    given = given or ConditionalConfig()
    if given.shortcut is not None:
        msg = f"{spec.common.name}: its shortcuts have no convolutions; leave out shortcut"
        raise ValueError(msg)
    if given.head and not spec.head:
        msg = f"{spec.common.name} has no 1x1 convolution behind its blocks; leave out head"
        raise ValueError(msg)
    begin = given.begin_block or begin
    head = head if given.head is None else given.head
    classifier = classifier if given.classifier is None else given.classifier
    number, stages = 0, []
    for stage in spec.stages:
        blocks = []
        for block in stage:
            number += 1
            blocks.append(block if number < begin else replace(block, experts=experts))
        stages.append(tuple(blocks))
    return replace(
        spec,
        stages=tuple(stages),
        head_experts=experts if head else 0,
        common=replace(spec.common, conditional_classifier=experts if classifier else 0),
    )


def _spec(
    options: BackboneOptions,
    groups: Groups,
    rows: tuple[Row, ...],
    activation: Activation,
    *,
    head: int,
) -> MobileSpec:
    width = width_of(options, groups)
    stem = scale_width(32, width)
    stem_stride = 1 if options.stem == "small" else 2
    return MobileSpec(
        common=common_of(options, padding="same", norm=_NORM, dropout=_DROPOUT),
        stem=stem,
        stem_stride=stem_stride,
        activation=activation,
        squeeze_activation="relu",
        gate="sigmoid",
        stages=_stages(rows, stem, width, (stem_stride, options.output_stride or 32), activation),
        head=head,
        head_experts=0,
        hidden=0,
    )


def _stages(
    rows: tuple[Row, ...],
    stem: int,
    width: float,
    strides: tuple[int, int],
    activation: Activation,
) -> tuple[tuple[MobileBlock, ...], ...]:
    """Blocks of all rows; `strides` are (of the stem, greatest total)."""
    own = [row.stride if i == 0 else 1 for row in rows for i in range(row.layers)]
    moves = iter(dilated(own, *strides))
    channels, stages = stem, []
    for row in rows:
        out, blocks = scale_width(row.out, width), []
        for i in range(row.layers):
            stride, dilation = next(moves)
            blocks.append(
                MobileBlock(
                    kernel=row.kernel,
                    stride=stride,
                    dilation=dilation,
                    width=channels,
                    expanded=channels * row.expansion,
                    out=out,
                    squeezed=int(channels * row.squeeze),
                    activation=activation,
                    residual=channels == out and (i > 0 or row.stride == 1),
                )
            )
            channels = out
        stages.append(tuple(blocks))
    return tuple(stages)
