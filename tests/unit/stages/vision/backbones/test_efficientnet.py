"""The traps of EfficientNet."""

import pytest
import torch
from torch import nn

from stages.vision.backbones.catalogue import spec_of
from stages.vision.backbones.factory import create
from stages.vision.backbones.mobile_net import InvertedResidual, MobileNet
from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.specs import MobileSpec
from stages.vision.counting import count_parameters
from stages.vision.layers.condconv import CondConv2d
from stages.vision.layers.convolution import Conv2d
from stages.vision.layers.drop_path import DropPath
from stages.vision.layers.shapes import same_pads, scale_width


def _spec(name: str, **options: object) -> MobileSpec:
    spec = spec_of(BackboneOptions.model_validate({"name": name, **options}))
    assert isinstance(spec, MobileSpec)
    return spec


def _meta(name: str) -> MobileNet:
    with torch.device("meta"):
        net = create(name)
    assert isinstance(net, MobileNet)
    return net


def test_squeeze_is_a_quarter_of_the_input_and_not_of_the_expansion() -> None:
    blocks = _spec("efficientnet_b0").blocks
    assert [block.squeezed for block in blocks][:5] == [8, 4, 6, 6, 10]
    assert blocks[-1].squeezed == 48


def test_squeeze_layers_have_biases_and_a_silu_between() -> None:
    block = _meta("efficientnet_b0").blocks[1]
    assert isinstance(block, InvertedResidual)
    assert block.squeeze_excite is not None
    assert count_parameters(block.squeeze_excite) == 2 * 96 * 4 + 96 + 4
    x = torch.tensor([-2.0, 3.0])
    assert torch.equal(block.squeeze_excite.activation(x.clone()), nn.functional.silu(x))


def test_block_that_does_not_expand_has_no_expansion() -> None:
    net = _meta("efficientnet_b0")
    first = net.blocks[0]
    assert isinstance(first, InvertedResidual)
    assert first.expand is None
    assert count_parameters(first) == 1_448


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        (224, 3, 2, (0, 1)),
        (224, 5, 2, (1, 2)),
        (15, 3, 2, (1, 1)),
        (15, 5, 2, (2, 2)),
        (8, 3, 1, (1, 1)),
        (9, 5, 1, (2, 2)),
        (1, 3, 2, (1, 1)),
        (1, 5, 2, (2, 2)),
        (2, 5, 2, (1, 2)),
    ],
)
def test_same_padding_by_hand(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert same_pads(size, kernel, stride) == pads


def test_momentum_is_the_torch_way_round() -> None:
    norms = [m for m in _meta("efficientnet_b0").modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}


@pytest.mark.parametrize(
    ("width", "factor", "rounded"),
    [
        (32, 1.1, 32),
        (24, 1.1, 24),
        (40, 1.1, 48),
        (80, 1.1, 88),
        (192, 1.1, 208),
        (32, 1.2, 40),
        (16, 1.4, 24),
        (1280, 4.3, 5504),
    ],
)
def test_width_rounding(width: int, factor: float, rounded: int) -> None:
    assert scale_width(width, factor) == rounded


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        *((f"efficientnet_b{i}", n) for i, n in enumerate([16, 23, 23, 26, 32, 39, 45, 55, 61])),
        ("efficientnet_l2", 88),
    ],
)
def test_depth_is_rounded_up(name: str, blocks: int) -> None:
    assert len(_spec(name).blocks) == blocks


def test_stem_and_head_are_scaled() -> None:
    assert _spec("efficientnet_b2").head == 1408
    assert _spec("efficientnet_b3").stem == 40
    assert _spec("efficientnet_l2").stages[-1][-1].out == 1376


def test_drop_path_grows_over_all_blocks_and_skips_those_without_a_shortcut() -> None:
    net = _meta("efficientnet_b0")
    rates = [getattr(block.drop_path, "rate", None) for block in net.blocks]
    for i, (rate, block) in enumerate(zip(rates, net.spec.blocks, strict=True)):
        if block.residual and i:
            assert rate == pytest.approx(0.0125 * i)
        else:
            assert rate is None
    assert rates[14] == pytest.approx(0.175)


def test_drop_path_is_per_example_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer, x = DropPath(0.2), torch.ones(20_000, 2, 2, 1)
    y = layer(x)
    per_example = y.flatten(1)
    assert (per_example.amin(dim=1) == per_example.amax(dim=1)).all()
    assert set(per_example[:, 0].unique().tolist()) == {0.0, 1.25}
    assert abs(float(y.mean()) - 1.0) < 0.01
    assert torch.equal(layer.eval()(x), x)


def test_kernels_begin_with_the_fan_out_of_a_group() -> None:
    torch.manual_seed(0)
    net = create("efficientnet_b0")
    for module in net.modules():
        if isinstance(module, Conv2d) and module.weight.numel() > 20_000:
            fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
            assert float(module.weight.detach().std()) == pytest.approx(
                (2 / fan_out) ** 0.5, rel=0.03
            )
    depthwise = [m for m in net.modules() if isinstance(m, Conv2d) and m.groups > 1]
    values = torch.cat([m.weight.detach().flatten() for m in depthwise if m.kernel_size[0] == 5])
    assert float(values.std()) == pytest.approx((2 / 25) ** 0.5, rel=0.03)


def test_classifier_begins_uniform_by_the_number_of_classes() -> None:
    torch.manual_seed(0)
    layer = create("mbconv_tiny", num_classes=100).classifier.linear
    assert 0.095 < float(layer.weight.detach().abs().max()) <= 0.1
    assert (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("name", "layers"),
    [("cc_efficientnet_b0_8e", 24), ("cc_efficientnet_b0_depth_8e", 33)],
)
def test_experts_are_in_the_last_three_stages_alone(name: str, layers: int) -> None:
    net = _meta(name)
    conditional = [n for n, m in net.named_modules() if isinstance(m, CondConv2d)]
    assert len(conditional) == layers
    first = 16 - 8 if layers == 24 else 23 - 11
    assert {int(n.split(".")[1]) for n in conditional} == set(range(first, len(net.blocks)))


def test_a_block_has_one_router_that_reads_its_input() -> None:
    net = _meta("cc_efficientnet_b0_8e")
    for block, spec in zip(net.blocks, net.spec.blocks, strict=True):
        assert isinstance(block, InvertedResidual)
        assert (block.router is not None) == bool(spec.experts)
        if block.router is not None:
            assert block.router.linear.in_features == spec.width


def test_options_scale_like_the_names() -> None:
    scaled = _spec("efficientnet_b0", width=1.1, depth=1.2)
    assert scaled.stages == _spec("efficientnet_b2").stages


def test_dropout_of_the_released_networks() -> None:
    rates = [_spec(f"efficientnet_b{i}").common.dropout for i in range(8)]
    assert rates == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5]
    assert _spec("cc_efficientnet_b0_8e").common.dropout == 0.25
