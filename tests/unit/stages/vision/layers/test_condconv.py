"""The traps of conditionally parameterised convolution."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.vision.layers.condconv import CondConv2d, CondLinear, Form, Router
from stages.vision.layers.convolution import Window, convolve

FORMS: tuple[Form, ...] = ("loop", "grouped", "gemm", "mixture", "auto")
EXACT = 1e-12  # float64, sums in another order
KERNELS = [
    (kernel, stride, dilation, depthwise, padding)
    for kernel, stride, dilation in [
        (1, 1, 1),
        (1, 2, 1),
        (3, 1, 1),
        (3, 2, 1),
        (5, 2, 1),
        (3, 1, 2),
    ]
    for depthwise in (False, True)
    for padding in ("symmetric", "same")
]


def _layer(form: Form, window: Window, *, depthwise: bool = False, experts: int = 3) -> CondConv2d:
    torch.manual_seed(0)
    groups = 6 if depthwise else 1
    return CondConv2d(6, 6, window, groups=groups, experts=experts, form=form).double()


def _input(batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 6, 8, 7, dtype=torch.float64, generator=generator)
    return x, torch.rand(batch, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kernel", "stride", "dilation", "depthwise", "padding"), KERNELS)
def test_every_form_is_the_convolution_with_the_mixed_kernel(
    form: Form, kernel: int, stride: int, dilation: int, depthwise: bool, padding: str
) -> None:
    window = Window(kernel, stride, dilation, padding)  # type: ignore[arg-type]
    layer, (x, alpha) = _layer(form, window, depthwise=depthwise), _input()
    expected = torch.stack(
        [
            convolve(
                example[None],
                sum(a * w for a, w in zip(row, layer.experts, strict=True)),
                None,
                window,
                layer.groups,
            )[0]
            for example, row in zip(x, alpha, strict=True)
        ]
    )
    y = layer(x, alpha)
    assert y.shape == expected.shape
    assert (y - expected).abs().max() < EXACT


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_every_form_has_the_gradients_of_the_loop(form: Form, depthwise: bool) -> None:
    window, gradients = Window(3, 2, 1, "same"), []
    for chosen in ("loop", form):
        layer, (x, alpha) = _layer(chosen, window, depthwise=depthwise), _input()
        wanted = [x.requires_grad_(), alpha.requires_grad_(), layer.weight]
        y = layer(x, alpha)
        weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
        gradients.append(torch.autograd.grad((y * weights).sum(), wanted))
    for a, b in zip(*gradients, strict=True):
        assert (a - b).abs().max() < EXACT


def test_one_expert_at_weight_one_is_conv2d_bit_for_bit() -> None:
    layer, (x, _) = _layer("loop", Window(3), experts=1), _input(1)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert torch.equal(layer(x, one), functional.conv2d(x, layer.experts[0], padding=1))


@pytest.mark.parametrize("form", FORMS)
def test_one_hot_routing_is_that_expert(form: Form) -> None:
    layer, (x, _) = _layer(form, Window(3)), _input()
    routing = torch.eye(3, dtype=torch.float64)
    y = layer(x, routing)
    for i in range(3):
        alone = functional.conv2d(x[i : i + 1], layer.experts[i], padding=1)
        assert (y[i : i + 1] - alone).abs().max() < EXACT


@pytest.mark.parametrize("form", FORMS)
def test_output_is_linear_in_the_routing(form: Form) -> None:
    layer, (x, alpha) = _layer(form, Window(3)), _input()
    beta = alpha.flip(0)
    assert (layer(x, alpha + beta) - layer(x, alpha) - layer(x, beta)).abs().max() < EXACT
    assert layer(x, torch.zeros_like(alpha)).abs().max() == 0


def test_classifier_mixes_weights_and_biases_alike() -> None:
    torch.manual_seed(0)
    layer = CondLinear(5, 4, 3).double()
    nn.init.normal_(layer.bias)
    x, alpha = torch.randn(2, 5, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    for form in ("mixture", "gemm"):
        layer.form = form
        y = layer(x, alpha)
        for b in range(2):
            expected = sum(alpha[b, e] * (layer.weight[e] @ x[b] + layer.bias[e]) for e in range(3))
            assert (y[b] - expected).abs().max() < EXACT


@pytest.mark.parametrize("form", FORMS)
def test_permuted_experts_and_routing_leave_the_output(form: Form) -> None:
    layer, (x, alpha) = _layer(form, Window(3)), _input()
    before, order = layer(x, alpha), torch.tensor([2, 0, 1])
    with torch.no_grad():
        layer.weight.copy_(layer.weight[order].clone())
    assert (layer(x, alpha[:, order]) - before).abs().max() < EXACT


@pytest.mark.parametrize(("form", "depthwise"), list(itertools.product(FORMS, [False, True])))
def test_examples_do_not_leak_into_each_other(form: Form, depthwise: bool) -> None:
    layer, (x, alpha) = _layer(form, Window(3), depthwise=depthwise), _input()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x, alpha)[1].sum(), x)
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[1] != 0).any()


@pytest.mark.parametrize(("form", "depthwise"), list(itertools.product(FORMS, [False, True])))
@pytest.mark.parametrize("batch", [1, 3])
def test_channels_last_and_strided_input_give_the_same(
    form: Form, depthwise: bool, batch: int
) -> None:
    layer, (x, alpha) = _layer(form, Window(3, 2, 1, "same"), depthwise=depthwise), _input(batch)
    expected = layer(x, alpha)
    last = layer(x.to(memory_format=torch.channels_last), alpha)
    strided = layer(torch.cat([x, x], dim=3)[..., : x.shape[3]], alpha)
    assert (last - expected).abs().max() < EXACT
    assert (strided - expected).abs().max() < EXACT


def test_each_expert_begins_with_the_deviation_of_one_kernel() -> None:
    torch.manual_seed(0)
    full = CondConv2d(64, 128, Window(3), experts=4).weight
    depthwise = CondConv2d(2048, 2048, Window(5), groups=2048, experts=4).weight
    for weight, target in ((full, (2 / (9 * 128)) ** 0.5), (depthwise, (2 / 25) ** 0.5)):
        for expert in weight.detach():
            assert abs(float(expert.std()) / target - 1.0) < 0.02
        flat = functional.normalize(weight.detach().flatten(1), dim=1)
        cosine = flat @ flat.T - torch.eye(4)
        assert cosine.abs().max() < 0.02


def test_router_is_a_sigmoid_and_not_a_softmax() -> None:
    torch.manual_seed(0)
    router = Router(192, 8)
    alpha = router(torch.randn(256, 192, 4, 4)).detach()
    assert abs(float(alpha.sum(dim=1).mean()) - 4.0) < 0.2
    assert (alpha.sum(dim=1) - 1.0).abs().min() > 1.0
    bound = (6 / (192 + 8)) ** 0.5
    assert 0.95 * bound < float(router.linear.weight.detach().abs().max()) <= bound
    assert (router.linear.bias == 0).all()


def test_router_does_not_see_where_things_are() -> None:
    torch.manual_seed(0)
    router, x = Router(6, 3).double(), torch.randn(2, 6, 4, 4, dtype=torch.float64)
    moved = x.flatten(2)[:, :, torch.randperm(16)].view_as(x)
    assert (router(moved) - router(x)).abs().max() < EXACT


def test_routing_is_float32_under_autocast() -> None:
    router = Router(6, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert router(torch.randn(2, 6, 4, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("form", "depthwise"), list(itertools.product(FORMS, [False, True])))
def test_bfloat16_autocast_stays_near_float32(form: Form, depthwise: bool) -> None:
    layer, (x, alpha) = _layer(form, Window(3), depthwise=depthwise).float(), _input()
    x, alpha = x.float(), alpha.float()
    exact = layer(x, alpha)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x.bfloat16(), alpha)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() / exact.norm() < 2e-2


def test_network_of_experts_takes_channels_last() -> None:
    CondConv2d(6, 6, Window(3), experts=2).to(memory_format=torch.channels_last)


def test_expert_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    router = Router(6, 3, dropout=0.25)
    x = torch.randn(1, 6).expand(20_000, 6)
    dropped = router(x).detach()
    assert abs(float((dropped == 0).float().mean()) - 0.25) < 0.01
    router.eval()
    assert (dropped.mean(dim=0) - router(x)[0]).abs().max() < 0.01


def test_folding_the_norm_scales_experts_and_leaves_the_shift_outside() -> None:
    layer, (x, alpha) = _layer("loop", Window(3)), _input()
    scale, shift = torch.rand(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    expected = layer(x, alpha) * scale[:, None, None] + shift[:, None, None]
    with torch.no_grad():
        layer.weight.mul_(scale[:, None])
    assert (layer(x, alpha) + shift[:, None, None] - expected).abs().max() < EXACT
