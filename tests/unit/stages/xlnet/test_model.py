"""What must hold for the model whatever its weights: sizes, no leak, memory, directions, segments."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.heads import Classifier, LanguageModel
from stages.xlnet.model import Backbone, initialise
from stages.xlnet.permutation import attention_keys, draw_ranks, join_halves
from tests.xlnet.models import NO_DROPOUT, SHAPE, VOCAB_SIZE, Case, case, our_model

EXACT = 0.0
ROUNDING = 1e-13  # float64, sums in another order


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return our_model()


def _logits(model: LanguageModel, inputs: Case, **options: Any) -> Tensor:
    logits, _ = model(
        inputs.tokens, inputs.segments, inputs.keys, inputs.targets, memory=inputs.memory, **options
    )
    result: Tensor = logits.detach()
    return result


def _content(model: LanguageModel, inputs: Case, **options: Any) -> tuple[Tensor, Tensor | None]:
    hidden, memory = model.backbone(
        inputs.tokens, inputs.segments, inputs.keys, memory=inputs.memory, **options
    )
    return hidden.detach(), memory


def _with_token(inputs: Case, place: int) -> Case:
    """The case with another token at a place of every row."""
    tokens = inputs.tokens.clone()
    tokens[:, place] = (tokens[:, place] + 1) % VOCAB_SIZE
    return replace(inputs, tokens=tokens)


def _difference(left: Tensor, right: Tensor) -> float:
    return (left - right).abs().max().item()


@pytest.mark.parametrize(
    ("preset", "backbone", "classifier"),
    [("base", 116_718_336, 117_310_466), ("large", 360_268_800, 361_320_450)],
)
def test_parameter_counts_are_those_of_the_released_models(
    preset: Any, backbone: int, classifier: int
) -> None:
    config = ModelConfig(preset=preset)
    with torch.device("meta"):
        models: list[nn.Module] = [
            Backbone(config, 32_000, DropoutConfig()),
            Classifier(config, 32_000, DropoutConfig(), num_classes=2),
            LanguageModel(config, 32_000, DropoutConfig()),
        ]
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    assert counts == [backbone, classifier, backbone + 32_000]


@pytest.mark.parametrize("num_memory", [0, 5])
def test_target_does_not_see_its_own_token(model: LanguageModel, num_memory: int) -> None:
    inputs = case(batch=1, num_memory=num_memory)
    before = _logits(model, inputs)
    for number, place in enumerate(inputs.targets[0].tolist()):
        after = _logits(model, _with_token(inputs, place))
        assert _difference(before[:, number], after[:, number]) == EXACT


def test_target_is_seen_by_exactly_the_targets_later_in_the_order(model: LanguageModel) -> None:
    inputs = case(batch=1)
    ranks = inputs.keys[0][0, inputs.targets[0]]
    before = _logits(model, inputs)
    for number, place in enumerate(inputs.targets[0].tolist()):
        after = _logits(model, _with_token(inputs, place))
        changed = (before - after).abs().amax(dim=-1)[0] > 0
        assert changed.tolist() == (ranks > ranks[number]).tolist()


def test_context_is_seen_by_all_targets(model: LanguageModel) -> None:
    inputs = case(batch=1)
    context = (inputs.keys[1][0] == -1).nonzero()[0].item()
    change = (_logits(model, inputs) - _logits(model, _with_token(inputs, int(context)))).abs()
    assert (change.amax(dim=-1) > 0).all()


def test_context_never_sees_a_target_in_any_layer(model: LanguageModel) -> None:
    inputs = case(batch=1, num_memory=12)  # as long as the input: the new memory is all of it
    is_context = inputs.keys[1][0] == -1
    _, before = _content(model, inputs)
    _, after = _content(model, _with_token(inputs, int(inputs.targets[0, 0])))
    assert before is not None
    assert after is not None
    assert _difference(before[:, :, is_context], after[:, :, is_context]) == EXACT


def test_row_that_sees_nothing_does_not_see_itself(model: LanguageModel) -> None:
    inputs = case(batch=1)
    everything = torch.arange(12)[None]
    inputs = replace(inputs, keys=(everything, everything), targets=everything)
    before = _logits(model, inputs)
    first = _logits(model, _with_token(inputs, 0))
    last = _logits(model, _with_token(inputs, 11))
    assert _difference(before[:, 0], first[:, 0]) == EXACT
    assert _difference(before, last) == EXACT  # nobody comes after the last
    assert _difference(before[:, 1:], first[:, 1:]) > 0


def test_query_stream_does_not_touch_the_content_stream(model: LanguageModel) -> None:
    inputs = case(num_memory=4)
    with torch.no_grad():
        noisy = our_model()
        noisy.backbone.query_init.add_(3.0)
    _, before = model.backbone(
        inputs.tokens, inputs.segments, inputs.keys, targets=inputs.targets, memory=inputs.memory
    )
    _, after = noisy.backbone(
        inputs.tokens, inputs.segments, inputs.keys, targets=inputs.targets, memory=inputs.memory
    )
    assert _difference(before, after) == EXACT


def test_full_visibility_does_not_depend_on_an_order(model: LanguageModel) -> None:
    inputs = case()
    zeros = torch.zeros_like(inputs.tokens)
    inputs = replace(inputs, keys=(zeros, zeros - 1))
    shuffled = replace(inputs, keys=(torch.randint(0, 9, zeros.shape), zeros - 1))
    assert _difference(_content(model, inputs)[0], _content(model, shuffled)[0]) == EXACT


def test_memory_continues_a_segment_as_one_long_one_would(model: LanguageModel) -> None:
    long = case(length=16)
    early, late = torch.arange(8), torch.arange(8, 16)
    zeros = torch.zeros(3, 8, dtype=torch.int64)

    def part(places: Tensor, memory: Tensor | None) -> Case:
        return Case(long.tokens[:, places], zeros, (zeros, zeros - 1), long.targets, memory)

    # One segment, and an order in which the first half never sees the second.
    keys = torch.cat([zeros, zeros + 20], 1), torch.cat([zeros - 1, zeros + 10], 1)
    halves = replace(long, segments=torch.cat([zeros, zeros], 1), keys=keys)
    whole, _ = _content(model, halves)
    first, _ = _content(model, part(early, None))
    cache = torch.stack(_layer_inputs(model, part(early, None)), dim=1)
    second, _ = _content(model, part(late, cache))
    assert _difference(torch.cat([first, second], dim=1), whole) < ROUNDING
    open_keys = torch.cat([zeros, zeros], 1), torch.cat([zeros - 1, zeros - 1], 1)
    unrestricted, _ = _content(model, replace(halves, keys=open_keys))
    assert _difference(second, unrestricted[:, 8:]) > 1e-3


def _arguments(inputs: Case) -> tuple[Any, ...]:
    return inputs.tokens, inputs.segments, inputs.keys


def _layer_inputs(model: LanguageModel, inputs: Case) -> list[Tensor]:
    seen: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _layer, args: seen.append(args[0].detach()))
        for layer in model.backbone.layers
    ]
    model.backbone(*_arguments(inputs))
    for handle in handles:
        handle.remove()
    return seen


def test_new_memory_holds_the_layers_inputs_up_to_reuse_len(model: LanguageModel) -> None:
    inputs = case(num_memory=5)
    expected = torch.stack(_layer_inputs(model, replace(inputs, memory=None)), dim=1)
    _, memory = _content(model, inputs, reuse_len=3)
    assert memory is not None
    assert inputs.memory is not None
    assert memory.shape == (3, SHAPE.num_layers, 5, SHAPE.d_model)
    assert not memory.requires_grad
    torch.testing.assert_close(memory[:, :, :2], inputs.memory[:, :, 3:])
    torch.testing.assert_close(memory[:, 0, 2:], expected[:, 0, :3])  # the embeddings
    changed = _with_token(inputs, 3)
    _, again = _content(model, changed, reuse_len=3)
    assert again is not None
    first_layers = slice(0, 1)  # above, position 3 shows through attention
    assert _difference(memory[:, first_layers], again[:, first_layers]) == EXACT


def test_reversed_rows_give_the_flipped_output(model: LanguageModel) -> None:
    forwards = case(batch=2)
    none = torch.zeros(4, 12, dtype=torch.int64)
    both = Case(
        torch.cat([forwards.tokens, forwards.tokens.flip(1)]),
        torch.cat([forwards.segments, forwards.segments.flip(1)]),
        (none, none - 1),
        forwards.targets,
        None,
    )
    hidden, _ = _content(model, both, bidirectional=True)
    assert _difference(hidden[:2], hidden[2:].flip(1)) < ROUNDING
    one_way, _ = _content(model, both)
    assert _difference(one_way[:2], one_way[2:].flip(1)) > 1e-3


def test_renaming_segments_changes_nothing(model: LanguageModel) -> None:
    inputs = case()
    renamed = replace(inputs, segments=torch.tensor([3, 0, 4])[inputs.segments])
    assert _difference(_logits(model, inputs), _logits(model, renamed)) < ROUNDING
    merged = replace(inputs, segments=torch.tensor([0, 0, 1])[inputs.segments])
    assert _difference(_logits(model, inputs), _logits(model, merged)) > 1e-3


def test_left_padding_does_not_change_real_positions(model: LanguageModel) -> None:
    inputs = case()
    none = torch.zeros(3, 12, dtype=torch.int64)
    hidden, _ = _content(model, replace(inputs, keys=(none, none - 1)))
    pad = nn.functional.pad
    padded = replace(
        inputs,
        tokens=pad(inputs.tokens, (4, 0), value=5),
        segments=pad(inputs.segments, (4, 0), value=4),
        keys=(pad(none, (4, 0)), pad(none - 1, (4, 0), value=1)),
    )
    again, _ = _content(model, padded)
    assert _difference(hidden, again[:, 4:]) < ROUNDING


def test_logits_are_those_of_targets_only(model: LanguageModel) -> None:
    assert _logits(model, case()).shape == (3, 4, VOCAB_SIZE)


def test_embedding_learns_as_input_and_as_output() -> None:
    model, inputs = our_model(), case(batch=1)
    logits, _ = model(inputs.tokens, inputs.segments, inputs.keys, inputs.targets)
    logits.sum().backward()
    grad = model.backbone.embed.weight.grad
    assert grad is not None
    unseen = sorted(set(range(VOCAB_SIZE)) - set(inputs.tokens[0].tolist()))
    assert (grad[unseen].abs().sum(dim=-1) > 0).all()  # as outputs
    seen = inputs.tokens[0, inputs.keys[1][0] == -1]
    assert (grad[seen] - grad[unseen[0]]).abs().amax(dim=-1).min() > 0  # as inputs too


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 5e-2), (torch.float16, 1e-2)], ids=str
)
def test_half_precision_gives_nearly_the_same_and_leaks_nothing(
    dtype: torch.dtype, tolerance: float
) -> None:
    model, inputs = our_model().float(), case(batch=1, num_memory=4)
    assert inputs.memory is not None
    inputs = replace(inputs, memory=inputs.memory.float())
    exact = _logits(model, inputs)
    with torch.autocast("cpu", dtype):
        rough = _logits(model, inputs)
        place = int(inputs.targets[0, 1])
        other = _logits(model, _with_token(inputs, place))
    assert _difference(rough, exact) > 1e-4  # it did compute in half precision
    assert _difference(rough, exact) < tolerance * exact.abs().max().item()
    assert _difference(rough[:, 1], other[:, 1]) == EXACT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_row_that_sees_nothing_is_finite_in_every_precision(dtype: torch.dtype) -> None:
    model, everything = our_model().to(dtype), torch.arange(12)[None]
    inputs = replace(case(batch=1), keys=(everything, everything), targets=everything)
    before, after = _logits(model, inputs), _logits(model, _with_token(inputs, 0))
    assert before.isfinite().all()
    assert _difference(before[:, 0], after[:, 0]) == EXACT


def test_initial_loss_is_that_of_a_nearly_uniform_guess() -> None:
    config = ModelConfig(preset="base", num_layers=2)
    model = LanguageModel(config, 32_000, NO_DROPOUT)
    initialise(model, torch.Generator().manual_seed(0), std=0.02)
    inputs = case(batch=4, length=32, num_targets=16)
    with torch.no_grad():
        logits, _ = model(inputs.tokens, inputs.segments, inputs.keys, inputs.targets)
    labels = torch.randint(0, 32_000, (64,), generator=torch.Generator().manual_seed(1))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels)
    assert loss.item() == pytest.approx(10.53, abs=0.05)  # ln V + d * 0.02^2 / 2


def test_initial_query_vector_is_uniform_within_its_bound() -> None:
    model = Backbone(ModelConfig(preset="base", num_layers=1), 10, NO_DROPOUT)
    initialise(model, torch.Generator().manual_seed(0), std=0.02)
    assert model.query_init.abs().max().item() == pytest.approx(0.0883, abs=5e-4)
    drawn = dict(model.named_parameters())
    assert drawn["layers.0.attn.bias_content"].std().item() == pytest.approx(0.02, rel=0.1)
    assert (drawn["layers.0.ff.norm.weight"] == 1).all()


def test_first_half_and_new_memory_do_not_depend_on_the_second_half(model: LanguageModel) -> None:
    """So what is cached is the same whichever segments were drawn for the second half."""
    rng = np.random.default_rng(0)
    none, half = np.zeros(6, bool), np.isin(np.arange(6), (1, 4))
    keys = join_halves(
        attention_keys(draw_ranks(rng, 6, 6), half, none),
        attention_keys(draw_ranks(rng, 6, 6), half, none),
    )
    row, column = (torch.from_numpy(key)[None] for key in keys)
    inputs = replace(case(batch=1, num_memory=6), keys=(row, column))
    before, cached = _content(model, inputs, reuse_len=6)
    changed = inputs
    for place in range(6, 12):
        changed = _with_token(changed, place)
    after, cached_again = _content(model, changed, reuse_len=6)
    assert cached is not None
    assert cached_again is not None
    assert _difference(cached, cached_again) == EXACT
    assert _difference(before[:, :6], after[:, :6]) == EXACT
    back = _content(model, _with_token(inputs, 1))[0]  # a target of the first half
    assert (before[0, 6:] - back[0, 6:]).abs().amax(dim=-1).min() > 0
