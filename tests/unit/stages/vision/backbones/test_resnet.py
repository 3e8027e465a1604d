"""What ResNets are apart from numbers that the counts and the peers check."""

from typing import Any

import pytest
import torch

from stages.vision.backbones.factory import create
from stages.vision.backbones.residual_net import Residual, ResNet
from stages.vision.layers.attention import AAConv2d
from stages.vision.layers.condconv import CondConv2d


def _meta(name: str, **options: Any) -> Any:
    with torch.device("meta"):
        net = create(name, **options)
    assert isinstance(net, ResNet)
    return net


def test_padded_shortcut_averages_and_adds_zero_channels_on_both_sides() -> None:
    net: Any = create("wrn_10_10", num_classes=10)
    block = net.stages[1][0]
    assert isinstance(block, Residual)
    x = torch.randn(1, 160, 8, 8)
    shortcut = block._identity(x, x, None)
    assert shortcut.shape == (1, 320, 4, 4)
    assert (shortcut[:, :80] == 0).all()
    assert (shortcut[:, 240:] == 0).all()
    assert shortcut[0, 80, 0, 0] == pytest.approx(float(x[0, 0, :2, :2].mean()), abs=1e-6)


def test_projected_shortcut_of_a_wrn_takes_the_raw_input() -> None:
    net: Any = create("wrn_10_2").eval()
    block = net.stages[0][0]
    assert isinstance(block, Residual)
    assert block.shortcut is not None
    with torch.no_grad():
        last: Any = block.convs[-1]
        last.weight.zero_()
        x = torch.randn(1, 16, 8, 8)
        assert torch.equal(block(x), block.shortcut(x))


def test_wrn_kernels_begin_by_fan_out() -> None:
    torch.manual_seed(0)
    net: Any = create("wrn_28_2")
    weight = net.stages[2][1].convs[0].weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["aa_resnet34", "aa_resnet50"])
def test_attention_is_in_the_first_3x3_of_the_last_three_stages(name: str) -> None:
    net = _meta(name)
    for number, stage in enumerate(net.stages):
        for block in stage:
            attended = [isinstance(conv, AAConv2d) for conv in block.convs]
            place = 1 if name == "aa_resnet50" else 0
            assert attended == [number > 0 and i == place for i in range(len(attended))]
            if number:
                layer = block.convs[place]
                assert layer.pooled == (number == 1)
                assert layer.attention.grid == ((7, 7) if number == 3 else (14, 14))
                assert not layer.attention.heads.keys < 160


def test_attention_tables_follow_the_image_size() -> None:
    net = _meta("aa_resnet50", attention={"image_size": [320, 640]})
    layer = net.stages[2][0].convs[1]
    assert layer.attention.grid == (20, 40)


def test_all_attention_network_has_no_3x3_in_the_last_three_stages() -> None:
    net = _meta("aa_resnet50", attention={"kappa": 1.0, "upsilon": 1.0})
    layers = [m for m in net.modules() if isinstance(m, AAConv2d)]
    assert len(layers) == 13
    assert all(layer.conv is None for layer in layers)


def test_conditional_resnet_has_experts_in_its_last_three_blocks() -> None:
    names = [n for n, m in _meta("cc_resnet50_8e").named_modules() if isinstance(m, CondConv2d)]
    assert names == [f"stages.3.{b}.convs.{c}" for b in range(3) for c in range(3)]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnetv2_18"])
def test_output_stride_keeps_the_map_and_the_parameters(name: str, output_stride: int) -> None:
    net = _meta(name, output_stride=output_stride)
    with torch.device("meta"):
        final = net.eval().final_map(torch.empty(1, 3, 64, 64))
    assert final.shape[2:] == (64 // output_stride,) * 2
    plain = sum(p.numel() for p in _meta(name).parameters())
    assert sum(p.numel() for p in net.parameters()) == plain
