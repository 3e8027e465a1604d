"""Networks for inference: each normalisation becomes part of the convolution before it."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.residual_net import Residual, ResNet
from stages.vision.layers.convolution import Conv2d, ConvNorm


def folded(net: Backbone) -> Backbone:
    """A copy in evaluation mode, with normalisations folded where a plain convolution precedes.

    Its numbers are those of `net.eval()` up to rounding. What stays: normalisations behind
    convolutions of experts (weights of experts do not sum to one, so a shift cannot go into them)
    and behind augmented ones, and the first of each block of a ResNet v2, which follows a sum.
    """
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, ConvNorm):
            _fold(module, "conv", module, "norm")
        elif isinstance(module, Residual):
            behind = 0 if module.version == 1 else 1  # norm i is behind convolution i, or before
            for i in range(len(module.convs) - behind):
                _fold(module.convs, str(i), module.norms, str(i + behind))
            _fold(module, "shortcut", module, "shortcut_norm")
        elif isinstance(module, ResNet):
            _fold(module, "stem", module, "stem_norm")
    return net


def _fold(holder: nn.Module, conv: str, norm_holder: nn.Module, norm: str) -> None:
    """Where both are there and plain, the convolution takes over and the other does nothing."""
    first, second = getattr(holder, conv), getattr(norm_holder, norm)
    if isinstance(first, Conv2d) and isinstance(second, nn.BatchNorm2d):
        setattr(holder, conv, fuse_conv_bn_eval(first, second))
        setattr(norm_holder, norm, nn.Identity())
