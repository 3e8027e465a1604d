"""Networks by name."""

from typing import Any

from pydantic import ValidationError

from pipeline.errors import ConfigError
from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.catalogue import spec_of
from stages.vision.backbones.config import BackboneConfig
from stages.vision.backbones.mobile_net import MobileNet
from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.residual_net import ResNet
from stages.vision.backbones.specs import MobileSpec


def create(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    **options: Any,
) -> Backbone:
    """A network with fresh weights, in training mode, on the default device.

    Args:
        name: one of `catalogue.list_names()`, such as efficientnet_b0; mobile networks take any
            width (mobilenetv3_small_0.35), WRNs any size (wrn_16_4).
        num_classes: length of the logits.
        in_channels: of the images.
        **options: fields of `BackboneOptions`, such as padding="symmetric" or drop_path=0.1.

    Raises:
        ConfigError: no such network, or no such option of it.
    """
    try:
        config = BackboneConfig(name=name, **options)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in exc.errors()
        )
        raise ConfigError(problems) from exc
    return build(config, num_classes=num_classes, in_channels=in_channels)


def build(config: BackboneOptions, *, num_classes: int, in_channels: int = 3) -> Backbone:
    """The network of a configuration, fresh as `create` gives it."""
    spec = spec_of(config)
    if isinstance(spec, MobileSpec):
        return MobileNet(spec, num_classes=num_classes, in_channels=in_channels)
    return ResNet(spec, num_classes=num_classes, in_channels=in_channels)
