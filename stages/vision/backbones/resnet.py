"""ResNets: 10 to 152 layers, both versions, wide ones; conditional and augmented.

Sources: He et al. 2015, arXiv:1512.03385 (version 1; the stride is on the 3x3 convolution, as in
torchvision and timm); He et al. 2016, arXiv:1603.05027 (version 2); Zagoruyko and Komodakis 2016,
arXiv:1605.07146 (wide); Bello et al. 2019, arXiv:1904.09925 (attention); Yang et al. 2019,
arXiv:1904.04971 (experts).
"""

from dataclasses import replace
from itertools import pairwise
from typing import Literal

from stages.vision.backbones.building import (
    Groups,
    attended_of,
    common_of,
    dilated,
    experts_of,
    number_of,
)
from stages.vision.backbones.options import BackboneOptions, ConditionalConfig
from stages.vision.backbones.specs import ResidualBlock, ResidualSpec

_LAYERS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_INNER = (64, 128, 256, 512)
_NORM = (1e-5, 0.1)
_BASIC_ATTENTION = (0.25, 0.25, 8, 20)
_BOTTLENECK_ATTENTION = (0.2, 0.1, 8, 20)
_LAST_CONDITIONAL = 3  # blocks of ResNet-50 with experts; its parameter count says so


def resnet_spec(options: BackboneOptions, groups: Groups) -> ResidualSpec:
    """ResNet and ResNet v2.

    Raises:
        ValueError: the options contradict the name.
    """
    layers = int(number_of(groups, "layers", 50))
    bottleneck = layers >= 50
    version: Literal[1, 2] = 2 if groups.get("v2") else 1
    small = options.stem == "small"
    common = common_of(options, padding="symmetric", norm=_NORM, image_size=32 if small else 224)
    paper = _BOTTLENECK_ATTENTION if bottleneck else _BASIC_ATTENTION
    attended = attended_of(options, groups, paper, common.image_size)
    stages = _stages(
        _LAYERS[layers],
        widths=(64, *((4 if bottleneck else 1) * inner for inner in _INNER)),
        inner=_INNER,
        start=1 if small else 4,
        limit=options.output_stride or 32,
    )
    if version == 2 and bottleneck:
        # Its first block projects although the width alone changes, so nothing more to say; a
        # basic one keeps its input.
        stages = tuple((replace(stage[0], projected=True), *stage[1:]) for stage in stages)
    if attended is not None:
        stages = (
            stages[0],
            *(
                tuple(replace(block, attended=True, attends_pooled=i == 0) for block in stage)
                for i, stage in enumerate(stages[1:])
            ),
        )
    spec = ResidualSpec(
        common=replace(common, attended=attended),
        version=version,
        bottleneck=bottleneck,
        stem=options.stem or "imagenet",
        stem_width=64,
        raw_shortcut=False,
        stages=stages,
    )
    experts = experts_of(options, groups)
    return spec if not experts else _conditional(spec, experts, options.conditional)


def _conditional(spec: ResidualSpec, experts: int, given: ConditionalConfig | None) -> ResidualSpec:
    given = given or ConditionalConfig()
    if given.head:
        msg = f"{spec.common.name} has no 1x1 convolution behind its blocks; leave out head"
        raise ValueError(msg)
    total = sum(len(stage) for stage in spec.stages)
    begin = given.begin_block or total - _LAST_CONDITIONAL + 1
    number, stages = 0, []
    for stage in spec.stages:
        blocks = []
        for block in stage:
            number += 1
            blocks.append(
                block
                if number < begin
                else replace(block, experts=experts, conditional_shortcut=bool(given.shortcut))
            )
        stages.append(tuple(blocks))
    classifier = given.classifier is not False
    common = replace(spec.common, conditional_classifier=experts if classifier else 0)
    return replace(spec, common=common, stages=tuple(stages))


def wrn_spec(options: BackboneOptions, groups: Groups) -> ResidualSpec:
    """WRN-layers-factor for 32-pixel images.

    WRN-28-2 projects shortcuts (Xie et al. 2020, arXiv:1904.12848), WRN-28-10 pads them, since only so it
    has the 36.3 M parameters that are published; `shortcut` chooses. Either takes the block's
    input, not its activation.

    Raises:
        ValueError: no such depth.
    """
    layers, factor = (int(number_of(groups, name, 0)) for name in ("layers", "factor"))
    per_stage, rest = divmod(layers - 4, 6)
    if rest or per_stage < 1 or factor < 1:
        msg = f"{options.name}: the layers of a WRN are 6 n + 4 (10, 16, 22, 28), its factor >= 1"
        raise ValueError(msg)
    if options.stem == "imagenet":
        msg = f"{options.name} is for small images; leave out stem"
        raise ValueError(msg)
    common = common_of(options, padding="symmetric", norm=_NORM, image_size=32)
    attended = attended_of(options, groups, _BOTTLENECK_ATTENTION, common.image_size)
    inner = tuple(factor * width for width in (16, 32, 64))
    stages = _stages(
        (per_stage,) * 3,
        widths=(16, *inner),
        inner=inner,
        start=1,
        limit=options.output_stride or 32,
    )
    shortcut = options.shortcut or ("pad" if factor >= 10 else "projection")
    stages = tuple(
        tuple(
            replace(
                block,
                projected=block.projected and shortcut == "projection",
                attended=attended is not None,
            )
            for block in stage
        )
        for stage in stages
    )
    return ResidualSpec(
        common=replace(common, attended=attended),
        version=2,
        bottleneck=False,
        stem="small",
        stem_width=16,
        raw_shortcut=True,
        stages=stages,
    )


def _stages(
    layers: tuple[int, ...],
    *,
    widths: tuple[int, ...],
    inner: tuple[int, ...],
    start: int,
    limit: int,
) -> tuple[tuple[ResidualBlock, ...], ...]:
    """Blocks of all stages; the first of each but the first stage strides."""
    strides = [2 if i == 0 and s else 1 for s, n in enumerate(layers) for i in range(n)]
    moves = iter(dilated(strides, start, limit))
    stages: list[tuple[ResidualBlock, ...]] = []
    for number, (width, out), mid in zip(layers, pairwise(widths), inner, strict=True):
        blocks = []
        for i in range(number):
            stride, dilation = next(moves)
            before = width if i == 0 else out
            strides_away = i == 0 and bool(stages) and stride == 1
            blocks.append(
                ResidualBlock(
                    width=before,
                    inner=mid,
                    out=out,
                    stride=stride,
                    dilation=dilation,
                    inner_dilation=2 * dilation if strides_away else dilation,
                    projected=before != out or stride > 1 or strides_away,
                )
            )
        stages.append(tuple(blocks))
    return tuple(stages)
