"""The traps of MobileNetV3."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stages.vision.backbones.catalogue import spec_of
from stages.vision.backbones.factory import create
from stages.vision.backbones.mobile_net import InvertedResidual, MobileNet
from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.specs import MobileSpec
from stages.vision.counting import count_parameters
from stages.vision.layers.activations import activation_function
from stages.vision.layers.squeeze_excite import SqueezeExcite


def _spec(name: str, **options: object) -> MobileSpec:
    spec = spec_of(BackboneOptions.model_validate({"name": name, **options}))
    assert isinstance(spec, MobileSpec)
    return spec


def _meta(name: str, **options: Any) -> MobileNet:
    with torch.device("meta"):
        net = create(name, **options)
    assert isinstance(net, MobileNet)
    return net


@pytest.mark.parametrize(
    ("size", "squeezed"),
    [
        ("large", [24, 32, 32, 120, 168, 168, 240, 240]),
        ("small", [8, 24, 64, 64, 32, 40, 72, 144, 144]),
    ],
)
def test_squeeze_is_a_rounded_quarter_of_the_expansion(size: str, squeezed: list[int]) -> None:
    blocks = _spec(f"mobilenetv3_{size}").blocks
    assert [block.squeezed for block in blocks if block.squeezed] == squeezed


def test_gate_is_the_hard_sigmoid() -> None:
    gate = activation_function("hard_sigmoid")
    x = torch.tensor([-3.0, 3.0, 0.0, -4.0])
    assert gate(x).tolist() == [0.0, 1.0, 0.5, 0.0]
    spec = _spec("mobilenetv3_large")
    assert (spec.gate, spec.squeeze_activation) == ("hard_sigmoid", "relu")


def test_squeeze_sees_the_activated_map() -> None:
    net: Any = create("mobilenetv3_large").eval()
    block = net.blocks[3]
    assert isinstance(block, InvertedResidual)
    seen: list[Tensor] = []
    assert isinstance(block.squeeze_excite, SqueezeExcite)
    block.squeeze_excite.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        block.depthwise.norm.bias.fill_(-100.0)
        block(torch.randn(1, 24, 8, 8))
    assert (seen[0] == 0).all()  # ReLU of a negative map


@pytest.mark.parametrize(("size", "parameters"), [("large", 464), ("small", 744)])
def test_first_block_does_not_expand(size: str, parameters: int) -> None:
    first = _meta(f"mobilenetv3_{size}").blocks[0]
    assert isinstance(first, InvertedResidual)
    assert first.expand is None
    assert count_parameters(first) == parameters
    assert first.residual == (size == "large")


@pytest.mark.parametrize(("size", "parameters"), [("large", 2_511_080), ("small", 1_615_848)])
def test_hidden_layer_has_no_norm_and_stands_behind_the_pool(size: str, parameters: int) -> None:
    net = _meta(f"mobilenetv3_{size}")
    assert net.hidden is not None
    assert count_parameters(net.hidden) + count_parameters(net.classifier) == parameters


@pytest.mark.parametrize(("size", "first"), [("large", 6), ("small", 3)])
def test_hard_swish_is_in_the_deeper_half_alone(size: str, first: int) -> None:
    spec = _spec(f"mobilenetv3_{size}")
    activations = [block.activation for block in spec.blocks]
    swish = len(activations) - first
    assert activations == ["relu"] * first + ["hard_swish"] * swish
    assert spec.activation == "hard_swish"


def test_minimalistic_has_neither_swish_nor_squeeze_nor_large_kernels() -> None:
    spec = _spec("mobilenetv3_large_minimal")
    assert spec.activation == "relu"
    assert {(b.activation, b.squeezed, b.kernel) for b in spec.blocks} == {("relu", 0, 3)}


def test_dropout_is_what_is_dropped_and_not_what_is_kept() -> None:
    assert _meta("mobilenetv3_large").classifier.dropout.p == 0.2


def test_tables_are_not_changed_by_a_multiplier() -> None:
    before = _spec("mobilenetv3_large")
    _spec("mobilenetv3_large_0.35")
    _spec("mobilenetv3_large", tail="segmentation")
    assert _spec("mobilenetv3_large") == before
    assert count_parameters(_meta("mobilenetv3_large")) == 5_483_032


def test_hard_swish_by_hand() -> None:
    swish = activation_function("hard_swish")
    x = torch.tensor([4.0, -4.0, 1.0], dtype=torch.float64)
    assert swish(x).tolist() == pytest.approx([4.0, 0.0, 2 / 3])


def test_hard_swish_gradient_away_from_the_kinks() -> None:
    swish = activation_function("hard_swish")
    x = torch.tensor([-5.0, -2.0, 0.3, 2.5, 6.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(swish, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_hard_swish_of_large_values_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    assert activation_function("hard_swish")(torch.tensor([3e4], dtype=dtype)).isfinite().all()


def test_kernels_begin_as_a_truncated_normal() -> None:
    torch.manual_seed(0)
    net: Any = create("mobilenetv3_small")
    weight = net.head.conv.weight.detach()
    assert float(weight.abs().max()) <= 0.18
    assert float(weight.std()) == pytest.approx(0.09 * 0.8796, rel=0.02)  # of what is left


@pytest.mark.parametrize(
    ("size", "low", "high", "final"), [("large", 120, 672, 960), ("small", 88, 288, 576)]
)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_taps_of_segmentation_and_detection(
    size: str, low: int, high: int, final: int, output_stride: int
) -> None:
    net = _meta(f"mobilenetv3_{size}", output_stride=output_stride)
    taps = ("depthwise8", "expansion16", "head", output_stride)
    with torch.device("meta"):
        maps = net.eval().features(torch.empty(1, 3, 64, 96), taps)
    stride = min(16, output_stride)
    assert maps["depthwise8"].shape == (1, low, 8, 12)
    assert maps["expansion16"].shape == (1, high, 64 // stride, 96 // stride)
    assert maps["head"].shape == (1, final, 64 // output_stride, 96 // output_stride)
    assert {tap: net.channels[tap] for tap in taps} == {t: m.shape[1] for t, m in maps.items()}


@pytest.mark.parametrize(("size", "high", "final"), [("large", 672, 480), ("small", 288, 288)])
def test_detection_tail_halves_the_last_stage_but_not_its_first_expansion(
    size: str, high: int, final: int
) -> None:
    net = _meta(f"mobilenetv3_{size}", tail="detection")
    assert (net.channels["expansion16"], net.channels["head"]) == (high, final)


@pytest.mark.parametrize(("size", "reach"), [("large", 13), ("small", 9)])
def test_layer_whose_stride_is_taken_keeps_its_rate(size: str, reach: int) -> None:
    dilations = [b.dilation for b in _spec(f"mobilenetv3_{size}", output_stride=16).blocks]
    assert dilations == [1] * (len(dilations) - 2) + [2, 2]
    assert _spec(f"mobilenetv3_{size}", output_stride=16).blocks[reach - 1].stride == 1


def test_receptive_field_of_a_dilated_block_is_that_of_the_strided_one() -> None:
    # The block behind the removed stride sees 5 taps, 2 apart: 9 positions of the finer map.
    net: Any = create("mobilenetv3_small", output_stride=16).eval()
    block = net.blocks[9]
    assert isinstance(block, InvertedResidual)
    x = torch.randn(1, 576, 15, 15, requires_grad=True)
    y = block.depthwise.conv(x)[0, 0, 7, 7]
    (gradient,) = torch.autograd.grad(y, x)
    rows = gradient[0, 0].abs().amax(dim=1).nonzero().flatten().tolist()
    assert rows == [3, 5, 7, 9, 11]
