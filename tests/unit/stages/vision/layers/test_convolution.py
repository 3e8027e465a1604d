"""Convolution over a window."""

import pytest
import torch
from torch.nn import functional

from stages.vision.layers.convolution import Conv2d, Window
from stages.vision.layers.shapes import same_pads

EXACT = 1e-12  # float64, sums in another order


@pytest.mark.parametrize("bias", [False, True])
def test_product_over_channels_is_the_convolution_with_its_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    layer = Conv2d(5, 7, Window(1), bias=bias).double()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64).to(memory_format=torch.channels_last)
    weights, gradients = torch.linspace(-1, 1, 168, dtype=torch.float64).view(2, 7, 3, 4), []
    for image in (x, x.contiguous()):
        image = image.detach().requires_grad_()  # noqa: PLW2901
        y = layer(image)
        gradients.append(
            [y, *torch.autograd.grad((y * weights).sum(), [image, *layer.parameters()])]
        )
    assert gradients[0][0].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(*gradients, strict=True):
        assert (a - b).abs().max() < EXACT


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (8, 7), (1, 2)])
def test_same_padding_is_explicit_padding(kernel: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = Conv2d(3, 4, Window(kernel, 2, 1, "same")).double()
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    (top, bottom), (left, right) = (same_pads(n, kernel, 2) for n in size)
    padded = functional.pad(x, (left, right, top, bottom))
    y = layer(x)
    assert y.shape[2:] == tuple(-(-n // 2) for n in size)
    assert (y - functional.conv2d(padded, layer.weight, stride=2)).abs().max() < EXACT
