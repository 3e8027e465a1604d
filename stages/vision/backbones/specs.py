"""What a network is, in whole numbers: no torch, so that a DAG is checked without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.vision.layers.shapes import Activation, Padding

Init = Literal["he", "truncated"]
"""`he`: by fan-out. `truncated`: N(0, 0.09) cut at two deviations, as MobileNetV3's code has it."""

Stem = Literal["imagenet", "small"]
"""`small`: the stem does not shrink the image, for 32-pixel ones."""


@dataclass(frozen=True)
class Attended:
    """How attention augments convolutions; see `layers.attention`.

    Attributes:
        kappa: channels of keys and queries over output channels.
        upsilon: channels of values over output channels; 1 leaves no convolution.
        heads: number of heads.
        min_head: least channels of a key in a head.
        relative: whether positions enter.
        table_init: `centred`: N(0, d^-0.5); `listing`: the paper's listing as printed, whose
            d^-0.5 is the mean.
        image_size: (height, width) that the position tables are made for; smaller ones do too.
    """

    kappa: float
    upsilon: float
    heads: int
    min_head: int
    relative: bool
    table_init: Literal["centred", "listing"]
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Common:
    """What every network has.

    Attributes:
        name: as in the catalogue.
        padding: where strided convolutions pad.
        norm_eps: of batch normalisation.
        norm_momentum: weight of the new batch in the running statistics.
        dropout: probability, before the classifier.
        drop_path: stochastic depth of the last block; falls to 0 at the first.
        init: of the convolutions.
        image_size: pixels of a side that the network was made for.
        expert_dropout: probability that an expert of a conditional convolution is left out.
        conditional_classifier: experts of the classifier; 0 for a plain one.
        attended: attention of the blocks that have it.
    """

    name: str
    padding: Padding
    norm_eps: float
    norm_momentum: float
    dropout: float
    drop_path: float
    init: Init
    image_size: int
    expert_dropout: float
    conditional_classifier: int
    attended: Attended | None


@dataclass(frozen=True)
class MobileBlock:
    """Expansion (none when `expanded` is `width`), depthwise, squeeze-excite, projection.

    Attributes:
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        dilation: of the depthwise convolution.
        width: input channels.
        expanded: channels inside.
        out: output channels.
        squeezed: channels inside squeeze-excite; 0 for none.
        activation: after expansion and depthwise convolution.
        activates_output: whether the projection is activated too (MobileNetV1).
        residual: whether the input is added.
        experts: of each convolution; 0 for plain ones.
        attended: whether the expansion is augmented with attention.
    """

    kernel: int
    stride: int
    dilation: int
    width: int
    expanded: int
    out: int
    squeezed: int
    activation: Activation
    activates_output: bool = False
    residual: bool = False
    experts: int = 0
    attended: bool = False


@dataclass(frozen=True)
class MobileSpec:
    """A network of `MobileBlock`s.

    Attributes:
        common: what every network has.
        stem: channels of the first convolution.
        stem_stride: of it.
        activation: of stem, head and hidden layer.
        squeeze_activation: inside squeeze-excite.
        gate: of squeeze-excite.
        stages: blocks by stage, as released code groups them.
        head: channels of the last 1x1 convolution; 0 for none.
        head_experts: of it; 0 for a plain one.
        hidden: channels of the layer behind the pool (MobileNetV3); 0 for none.
    """

    common: Common
    stem: int
    stem_stride: int
    activation: Activation
    squeeze_activation: Activation
    gate: Activation
    stages: tuple[tuple[MobileBlock, ...], ...]
    head: int
    head_experts: int
    hidden: int

    @property
    def blocks(self) -> Sequence[MobileBlock]:
        """All of them in order."""
        return [block for stage in self.stages for block in stage]


@dataclass(frozen=True)
class ResidualBlock:
    """A basic or bottleneck block.

    Attributes:
        width: input channels.
        inner: channels of the 3x3 convolutions.
        out: output channels.
        stride: of the (first) 3x3 convolution.
        dilation: of the (first) 3x3 convolution.
        inner_dilation: of a basic block's second 3x3 convolution.
        projected: whether the shortcut has a convolution.
        experts: of the convolutions; 0 for plain ones.
        conditional_shortcut: whether the shortcut's convolution has experts too.
        attended: whether the (first) 3x3 convolution is augmented with attention.
        attends_pooled: whether it attends on a map of half the size.
    """

    width: int
    inner: int
    out: int
    stride: int
    dilation: int
    inner_dilation: int
    projected: bool
    experts: int = 0
    conditional_shortcut: bool = False
    attended: bool = False
    attends_pooled: bool = False


@dataclass(frozen=True)
class ResidualSpec:
    """A ResNet.

    Attributes:
        common: what every network has.
        version: 1 normalises after each convolution, 2 before.
        bottleneck: 1x1, 3x3, 1x1 instead of 3x3, 3x3.
        stem: 7x7 and pool, or 3x3.
        stem_width: channels of the first convolution.
        raw_shortcut: version 2's projected shortcut takes the block's input instead of its
            activation.
        stages: blocks by stage.
    """

    common: Common
    version: Literal[1, 2]
    bottleneck: bool
    stem: Stem
    stem_width: int
    raw_shortcut: bool
    stages: tuple[tuple[ResidualBlock, ...], ...]


Spec = MobileSpec | ResidualSpec
