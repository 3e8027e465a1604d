"""Folded networks compute what the others do."""

import pytest
import torch
from torch import nn

from stages.vision.backbones.factory import create
from stages.vision.backbones.folding import folded
from tests.vision.peers import structured_images

EXACT = 1e-10  # float64, relative to the largest logit


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("resnetv2_18", 9),
        ("mbconv_tiny", 0),
        ("mobilenetv3_small_0.35", 0),
        ("cc_mobilenetv2_0.35_4e", 34),
        ("aa_wrn_10_1", 7),
    ],
)
def test_folded_network_gives_the_same_logits(name: str, left: int) -> None:
    torch.manual_seed(0)
    net = create(name, num_classes=5).double()
    images = structured_images(4, 32, 32)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
    with torch.no_grad():
        net(images)
        expected = net.eval()(images)
        net.train()
        small = folded(net)
        assert (small(images) - expected).abs().max() / expected.abs().max() < EXACT
    assert net.training
    assert sum(isinstance(m, nn.BatchNorm2d) for m in small.modules()) == left
