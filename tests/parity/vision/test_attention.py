"""Relative attention against a loop over pairs of positions."""

import pytest
import torch
from torch import Tensor

from stages.vision.layers.attention import Form, Heads, RelativeAttention
from tests.parity.vision.naive_attention import naive_attention

TOLERANCE = 1e-12  # float64, sums in another order
FORMS: tuple[Form, ...] = ("auto", "fused", "product", "bias")


def _attention(grid: tuple[int, int], form: Form, *, relative: bool = True) -> RelativeAttention:
    torch.manual_seed(5)
    return RelativeAttention(Heads(8, 6, 2, relative), grid, form).double()


def _map(height: int, width: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 22, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(3, 4), (4, 3), (1, 5), (5, 1), (1, 1), (2, 2)])
def test_output_is_that_of_the_loop(size: tuple[int, int], form: Form) -> None:
    attention, kqv = _attention(size, form), _map(*size)
    assert (attention(kqv) - naive_attention(attention, kqv)).abs().max() < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_smaller_map_uses_the_middle_of_the_tables(form: Form) -> None:
    attention, kqv = _attention((5, 6), form), _map(3, 4)
    assert (attention(kqv) - naive_attention(attention, kqv)).abs().max() < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_input_and_tables_are_those_of_the_loop(form: Form) -> None:
    attention, kqv = _attention((3, 4), form), _map(3, 4).requires_grad_()
    weights = torch.linspace(-1, 1, 2 * 6 * 12, dtype=torch.float64).view(2, 6, 3, 4)
    wanted = [kqv, *attention.parameters()]
    ours = torch.autograd.grad((attention(kqv) * weights).sum(), wanted)
    naive = torch.autograd.grad((naive_attention(attention, kqv) * weights).sum(), wanted)
    for a, b in zip(ours, naive, strict=True):
        assert (a - b).abs().max() < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_channels_last_map_gives_the_same(form: Form) -> None:
    attention, kqv = _attention((3, 4), form), _map(3, 4)
    last = attention(kqv.to(memory_format=torch.channels_last))
    assert (last - attention(kqv)).abs().max() < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("relative", [False, True])
def test_shuffled_positions_come_out_shuffled_without_tables_only(
    relative: bool, form: Form
) -> None:
    attention, kqv = _attention((3, 4), form, relative=relative), _map(3, 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    shuffled = attention(kqv.flatten(2)[:, :, order].view_as(kqv)).flatten(2)
    difference = (shuffled - attention(kqv).flatten(2)[:, :, order]).abs().max()
    assert (difference < TOLERANCE) != relative
