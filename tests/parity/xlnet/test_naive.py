"""Our attention against loops over the formula, and the shift against one element at a time."""

import pytest
import torch
from torch import Tensor

from stages.xlnet.attention import RelativeAttention, surroundings
from stages.xlnet.permutation import blocked
from stages.xlnet.positions import MaskedShift, position_tables, sinusoids
from tests.parity.xlnet import naive
from tests.xlnet.models import SHAPE, Case, case, our_model

ROUNDING = 1e-12


def _layer() -> RelativeAttention:
    attention = our_model().backbone.layers[1].attn
    assert isinstance(attention, RelativeAttention)
    return attention


def _ours(inputs: Case, rows: Tensor, context: Tensor, *, bidirectional: bool) -> Tensor:
    length = inputs.tokens.shape[1]
    num_memory = context.shape[1] - length
    tables = position_tables(
        context.shape[1], length, SHAPE.d_model, bidirectional=bidirectional, like=rows
    )
    around = surroundings(
        tables, inputs.segments, inputs.keys, num_memory=num_memory, targets=inputs.targets
    )
    out: Tensor = _layer()(rows, context, around)
    return out.detach()


def _naive(inputs: Case, rows: Tensor, context: Tensor, example: int, sign: int) -> Tensor:
    return naive.attention(
        dict(_layer().named_parameters()),
        SHAPE.num_heads,
        rows[example],
        context[example],
        _sight(inputs, example, context.shape[1] - inputs.tokens.shape[1], sign),
    ).detach()


def _sight(inputs: Case, example: int, num_memory: int, sign: int) -> naive.Sight:
    length = inputs.tokens.shape[1]
    targets = inputs.targets[example].tolist()
    places = [*range(length), *targets]
    hidden = blocked(*inputs.keys)[example]
    may_see = []
    for number, place in enumerate(places):
        is_content = number < length
        visible = [not hidden[place, j] or (is_content and place == j) for j in range(length)]
        may_see.append([True] * num_memory + visible)
    segments = inputs.segments[example].tolist()
    return naive.Sight(
        positions=[place + num_memory for place in places],
        row_segments=[segments[place] for place in places],
        key_segments=[0] * num_memory + segments,
        may_see=may_see,
        sign=sign,
    )


@pytest.mark.parametrize("num_memory", [0, 4])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_attention_of_both_streams_is_the_formula(num_memory: int, bidirectional: bool) -> None:
    inputs = case(batch=2, length=7, num_targets=3)
    generator = torch.Generator().manual_seed(0)
    shape = (2, 10, SHAPE.d_model)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64)
    past = torch.randn(2, num_memory, SHAPE.d_model, generator=generator, dtype=torch.float64)
    context = torch.cat([past, rows[:, :7]], dim=1)
    ours = _ours(inputs, rows, context, bidirectional=bidirectional)
    for example in range(2):
        sign = -1 if bidirectional and example == 1 else 1
        expected = _naive(inputs, rows, context, example, sign)
        assert (ours[example] - expected).abs().max() < ROUNDING


@pytest.mark.parametrize("num_memory", [0, 3])
@torch.no_grad()
def test_model_is_the_formula_through_every_layer(num_memory: int) -> None:
    inputs = case(batch=2, length=6, num_targets=2, num_memory=num_memory)
    model = our_model()
    logits, memory = model(
        inputs.tokens, inputs.segments, inputs.keys, inputs.targets, memory=inputs.memory
    )
    hidden, _ = model.backbone(inputs.tokens, inputs.segments, inputs.keys, memory=inputs.memory)
    for example in range(2):
        expected, content, given = naive.model(
            dict(model.named_parameters()),
            SHAPE.num_layers,
            SHAPE.num_heads,
            inputs.tokens[example].tolist(),
            inputs.targets[example].tolist(),
            None if inputs.memory is None else inputs.memory[example],
            _sight(inputs, example, num_memory, 1),
        )
        assert (logits[example] - expected).abs().max() < 10 * ROUNDING
        assert (hidden[example] - content).abs().max() < 10 * ROUNDING
        if memory is not None:
            newest = torch.stack(given)[:, -num_memory:]
            assert (memory[example] - newest).abs().max() < 10 * ROUNDING


_TARGETS = torch.tensor([[0, 3], [4, 2]])


@pytest.mark.parametrize(("num_content", "targets"), [(5, None), (5, _TARGETS), (0, _TARGETS)])
def test_shift_takes_each_score_from_its_offset(num_content: int, targets: Tensor | None) -> None:
    num_targets = 0 if targets is None else 2
    heads, batch, length, num_keys = 3, 2, 5, 9
    rows = num_content + num_targets
    scores = torch.randn(heads, batch, rows, num_keys + length - 1, dtype=torch.float64)
    mask = torch.randn(batch, rows, num_keys, dtype=torch.float64)
    out = MaskedShift.apply(scores, mask, targets)
    for h, b, r, j in torch.cartesian_prod(*map(torch.arange, out.shape)).tolist():
        is_target = targets is not None and r >= num_content
        place = int(targets[b, r - num_content]) if targets is not None and is_target else r
        expected = scores[h, b, r, length - 1 - place + j] + mask[b, r, j]
        assert out[h, b, r, j] == expected


def test_shift_has_the_gradient_of_its_values() -> None:
    scores = torch.randn(2, 2, 7, 12, dtype=torch.float64, requires_grad=True)
    mask = torch.randn(2, 7, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: MaskedShift.apply(x, mask, _TARGETS), (scores,))


def test_sinusoids_of_a_sum_obey_angle_addition() -> None:
    i, j = torch.arange(40.0, dtype=torch.float64), torch.tensor([7.0], dtype=torch.float64)
    sin_i, cos_i = sinusoids(i, 16).chunk(2, dim=1)
    sin_j, cos_j = sinusoids(j, 16).chunk(2, dim=1)
    difference = torch.cat([sin_i * cos_j - cos_i * sin_j, cos_i * cos_j + sin_i * sin_j], dim=1)
    assert (sinusoids(i - j, 16) - difference).abs().max() < ROUNDING


def test_sinusoids_of_far_offsets_keep_their_precision_below_float32() -> None:
    far = torch.tensor([1023.0])
    table = position_tables(1024, 1, 16, bidirectional=False, like=torch.empty(0).bfloat16())
    assert table.dtype == torch.bfloat16
    assert torch.equal(table[0, :1], sinusoids(far, 16).bfloat16())
