"""EfficientNet B0 to B8 and L2, with experts too, and a small network of the same blocks.

Source: Tan and Le 2019, arXiv:1905.11946, and its released code; B8 is that of AdvProp, L2 that of
Noisy Student. CondConv: Yang et al. 2019, arXiv:1904.04971, and its released code.
"""

from dataclasses import dataclass, replace

from stages.vision.backbones.building import Groups, common_of, dilated, experts_of
from stages.vision.backbones.mobilenet import with_experts
from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.specs import MobileBlock, MobileSpec
from stages.vision.layers.shapes import scale_depth, scale_width

NORM = (1e-3, 0.01)
"""eps and momentum of the released code: decay 0.99."""


@dataclass(frozen=True)
class Stage:
    """A row of the paper's table 1: layers of MBConv blocks."""

    layers: int
    kernel: int
    stride: int
    expansion: int
    out: int


_B0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
_TINY = (Stage(1, 3, 1, 4, 8), Stage(2, 3, 2, 4, 12), Stage(2, 3, 2, 4, 24), Stage(2, 3, 2, 4, 40))

# (width, depth, image size, dropout); the released coefficients, only near the powers of the paper.
_COEFFICIENTS = {
    "b0": (1.0, 1.0, 224, 0.2),
    "b1": (1.0, 1.1, 240, 0.2),
    "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4),
    "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5),
    "b7": (2.0, 3.1, 600, 0.5),
    "b8": (2.2, 3.6, 672, 0.5),
    "l2": (4.3, 5.3, 800, 0.5),
}
_DROP_PATH = 0.2
_CONDITIONAL_STAGES = 3


def efficientnet_spec(options: BackboneOptions, groups: Groups) -> MobileSpec:
    """EfficientNet; `width` and `depth` multiply its own coefficients.

    Raises:
        ValueError: the options contradict the name.
    """
    width, depth, image_size, dropout = _COEFFICIENTS[groups["size"] or "b0"]
    experts = experts_of(options, groups)
    if experts:
        if groups["size"] != "b0":
            msg = f"{options.name}: the network with experts is b0 or b0_depth"
            raise ValueError(msg)
        dropout = 0.25
    if groups.get("deep"):
        if not experts:
            msg = f"{options.name}: b0_depth is a network with experts; efficientnet_b1 is as deep"
            raise ValueError(msg)
        depth = 1.1
    width *= options.width or 1.0
    depth *= options.depth or 1.0
    common = common_of(
        options,
        padding="same",
        norm=NORM,
        dropout=dropout,
        drop_path=_DROP_PATH,
        image_size=image_size,
    )
    stem = scale_width(32, width)
    stem_stride = 1 if options.stem == "small" else 2
    stages = _blocks(_B0, stem, (width, depth, 8), stem_stride, options.output_stride or 32)
    spec = MobileSpec(
        common=common,
        stem=stem,
        stem_stride=stem_stride,
        activation="silu",
        squeeze_activation="silu",
        gate="sigmoid",
        stages=stages,
        head=scale_width(1280, width),
        head_experts=0,
        hidden=0,
    )
    if not experts:
        return spec
    begin = 1 + sum(len(stage) for stage in stages[:-_CONDITIONAL_STAGES])
    return with_experts(spec, experts, options.conditional, begin=begin)


def tiny_spec(options: BackboneOptions, _groups: Groups) -> MobileSpec:
    """About 4 M multiply-adds at 32 pixels, to compare ways of scaling within minutes.

    Widths are multiples of 4, so that small factors are not rounded away.
    """
    width, depth = options.width or 1.0, options.depth or 1.0
    common = common_of(options, padding="same", norm=NORM, image_size=32)
    stem = scale_width(16, width, 4)
    stem_stride = 2 if options.stem == "imagenet" else 1
    return MobileSpec(
        common=common,
        stem=stem,
        stem_stride=stem_stride,
        activation="silu",
        squeeze_activation="silu",
        gate="sigmoid",
        stages=_blocks(_TINY, stem, (width, depth, 4), stem_stride, options.output_stride or 32),
        head=scale_width(160, width, 4),
        head_experts=0,
        hidden=0,
    )


def _blocks(
    table: tuple[Stage, ...],
    stem: int,
    scale: tuple[float, float, int],
    start: int,
    limit: int,
) -> tuple[tuple[MobileBlock, ...], ...]:
    """Rows of the table, scaled by (width, depth, divisor)."""
    width, depth, divisor = scale
    rows = [replace(row, layers=scale_depth(row.layers, depth)) for row in table]
    strides = [row.stride if i == 0 else 1 for row in rows for i in range(row.layers)]
    moves = iter(dilated(strides, start, limit))
    channels, stages = stem, []
    for row in rows:
        blocks = []
        out = scale_width(row.out, width, divisor)
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
                    squeezed=max(1, int(channels * 0.25)),
                    activation="silu",
                    residual=channels == out and (i > 0 or row.stride == 1),
                )
            )
            channels = out
        stages.append(tuple(blocks))
    return tuple(stages)
