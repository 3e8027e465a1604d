"""What may be changed about a network; needs no torch."""

from typing import Literal

from pydantic import Field

from pipeline.spec.config import StageConfig
from stages.vision.backbones.specs import Stem
from stages.vision.layers.shapes import Padding


class ConditionalConfig(StageConfig):
    """Which convolutions of a CondConv network have experts; None is what the paper's counts say."""

    experts: int | None = Field(None, gt=0, description="experts a layer, instead of the name's")
    begin_block: int | None = Field(
        None, ge=1, description="first conditional block, from 1; of ResNets, counted over all"
    )
    head: bool | None = Field(None, description="the 1x1 convolution behind the blocks too")
    classifier: bool | None = Field(None, description="the classifier too")
    shortcut: bool | None = Field(None, description="projections of shortcuts too (ResNet)")
    expert_dropout: float = Field(0.0, ge=0, lt=1, description="an expert is left out, an example")


class AttentionConfig(StageConfig):
    """Attention of an AA network; None is the paper's value for it."""

    kappa: float | None = Field(None, gt=0, description="key channels / output channels")
    upsilon: float | None = Field(
        None, ge=0, le=1, description="value channels / output channels; 1: no convolution"
    )
    heads: int | None = Field(None, gt=0)
    min_head: int | None = Field(None, gt=0, description="least key channels of a head")
    relative: bool = Field(default=True, description="positions enter, as learned relative logits")
    table_init: Literal["centred", "listing"] = Field(
        "centred", description="listing: the paper's printed code, d^-0.5 as the mean"
    )
    image_size: tuple[int, int] | None = Field(
        None, description="(height, width) that position tables are made for"
    )


class BackboneOptions(StageConfig):
    """A name and its options. None is what the network's paper or released code has."""

    name: str = Field(min_length=1, description="such as efficientnet_b0 or resnet50")
    padding: Padding | None = None
    stem: Stem | None = Field(None, description="small: the stem does not shrink the image")
    dropout: float | None = Field(None, ge=0, lt=1, description="before the classifier")
    drop_path: float | None = Field(None, ge=0, lt=1, description="stochastic depth, last block")
    norm_eps: float | None = Field(None, gt=0)
    norm_momentum: float | None = Field(None, gt=0, le=1, description="weight of the new batch")
    width: float | None = Field(None, gt=0, le=10, description="multiplies all widths")
    depth: float | None = Field(None, gt=0, le=10, description="multiplies layers (EfficientNet)")
    width_rule: Literal["tf", "torchvision", "timm"] | None = Field(
        None, description="how MobileNetV3 rounds scaled widths"
    )
    scale_hidden: bool | None = Field(
        None, description="whether MobileNetV3's layer behind the pool scales"
    )
    tail: Literal["full", "segmentation", "detection"] | None = Field(
        None, description="MobileNetV3's last stage with half the channels"
    )
    shortcut: Literal["projection", "pad"] | None = Field(
        None, description="WRN's, where widths differ; pad has no parameters"
    )
    output_stride: Literal[8, 16, 32] | None = Field(
        None, description="later strides become dilations"
    )
    conditional: ConditionalConfig | None = None
    attention: AttentionConfig | None = None
