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
            module.conv, module.norm = _fused(module.conv, module.norm)
        elif isinstance(module, Residual):
            _fold_block(module)
        elif isinstance(module, ResNet) and module.stem_norm is not None:
            module.stem, module.stem_norm = _fused(module.stem, module.stem_norm)
    return net


def _fold_block(block: Residual) -> None:
    behind = 0 if block.version == 1 else 1  # the norm behind convolution i is i, or the next
    for i in range(len(block.convs) - behind):
        block.convs[i], block.norms[i + behind] = _fused(block.convs[i], block.norms[i + behind])
    if block.shortcut is not None and block.shortcut_norm is not None:
        block.shortcut, block.shortcut_norm = _fused(block.shortcut, block.shortcut_norm)


def _fused(conv: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    if not isinstance(conv, Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return conv, norm
    return fuse_conv_bn_eval(conv, norm), nn.Identity()
