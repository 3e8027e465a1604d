"""Our model against XLNetModel and XLNetLMHeadModel of transformers: same weights, same numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import XLNetLMHeadModel

from stages.xlnet.permutation import blocked, padding_keys
from tests.parity.xlnet.hf import copy_weights, hf_config, hf_model, hf_weights
from tests.xlnet.models import SHAPE, Case, case, our_model

TOLERANCE = 1e-11  # float64: sums in another order, nothing else


def _assert_equal(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    difference = (ours - theirs).abs().max().item()
    assert difference <= TOLERANCE, f"{what} differs by {difference}"


def _hf_arguments(inputs: Case) -> dict[str, Any]:
    mapping = functional.one_hot(inputs.targets, inputs.tokens.shape[1]).double()
    arguments: dict[str, Any] = {
        "input_ids": inputs.tokens,
        "token_type_ids": inputs.segments,
        "perm_mask": blocked(*inputs.keys).double(),
        "target_mapping": mapping,
    }
    if inputs.memory is not None:
        arguments["mems"] = [layer.transpose(0, 1) for layer in inputs.memory.unbind(1)]
    return arguments


def _our_logits(inputs: Case, **options: Any) -> tuple[Tensor, Tensor | None]:
    logits, memory = our_model()(
        inputs.tokens,
        inputs.segments,
        inputs.keys,
        inputs.targets,
        memory=inputs.memory,
        **options,
    )
    return logits, memory


@pytest.mark.parametrize("num_memory", [0, 7, 16])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_language_model_gives_the_logits_of_transformers(
    num_memory: int, bidirectional: bool
) -> None:
    inputs = case(batch=4, num_memory=num_memory)
    logits, _ = _our_logits(inputs, bidirectional=bidirectional)
    theirs = hf_model(our_model(), bidirectional=bidirectional)(**_hf_arguments(inputs))
    _assert_equal(logits, theirs.logits)


@pytest.mark.parametrize("num_memory", [0, 7])
def test_gradients_of_every_parameter_are_those_of_transformers(num_memory: int) -> None:
    inputs = case(num_memory=num_memory)
    labels = inputs.tokens.gather(1, inputs.targets)
    ours, theirs = our_model(), hf_model(our_model())
    logits, _ = ours(
        inputs.tokens, inputs.segments, inputs.keys, inputs.targets, memory=inputs.memory
    )
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    output = theirs(**_hf_arguments(inputs), labels=labels)
    output.loss.backward()
    _assert_equal(loss, output.loss)
    grads = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    assert expected.keys() == hf_weights(grads).keys() - {"lm_loss.weight"}  # tied there too
    for name, grad in hf_weights(grads).items():
        if name in expected:
            _assert_equal(grad, expected[name], name)


def test_content_stream_gives_every_hidden_state_of_transformers() -> None:
    inputs = case()
    ours = our_model().backbone
    seen: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.append(output)

    for layer in ours.layers:
        layer.register_forward_hook(keep)
    hidden, _ = ours(inputs.tokens, inputs.segments, inputs.keys)
    theirs = hf_model(our_model()).transformer(
        inputs.tokens,
        token_type_ids=inputs.segments,
        perm_mask=blocked(*inputs.keys).double(),
        output_hidden_states=True,
    )
    _assert_equal(hidden, theirs.last_hidden_state)
    for mine, other in zip(seen, theirs.hidden_states[1:], strict=True):
        _assert_equal(mine, other)


@pytest.mark.parametrize("reuse_len", [None, 5])
def test_new_memory_is_that_of_transformers(reuse_len: int | None) -> None:
    inputs = case(num_memory=7)
    _, memory = _our_logits(inputs, reuse_len=reuse_len)
    theirs = hf_model(our_model(), reuse_len=reuse_len)(**_hf_arguments(inputs))
    assert memory is not None
    for mine, other in zip(memory.unbind(1), theirs.mems, strict=True):
        _assert_equal(mine, other[-7:].transpose(0, 1))


def test_left_padded_input_gives_the_states_of_transformers_where_it_is_real() -> None:
    inputs = case()
    is_padding = torch.arange(12)[None, :] < torch.tensor([0, 3, 7])[:, None]
    hidden, _ = our_model().backbone(inputs.tokens, inputs.segments, padding_keys(is_padding))
    theirs = hf_model(our_model()).transformer(
        inputs.tokens,
        token_type_ids=inputs.segments,
        attention_mask=(~is_padding).double(),
    )
    _assert_equal(hidden[~is_padding], theirs.last_hidden_state[~is_padding])
    assert hidden.isfinite().all()


def test_erf_gelu_would_not_pass_as_the_same() -> None:
    x = torch.tensor(-1.0, dtype=torch.float64)
    assert functional.gelu(x, approximate="tanh").item() == pytest.approx(-0.15880801, abs=1e-8)
    assert functional.gelu(x).item() == pytest.approx(-0.15865525, abs=1e-8)


def _with_segments(inputs: Case, count: int) -> Case:
    """The case with so many segments, CLS in a kind of its own where there are three."""
    segments = inputs.segments.clone()
    if count < 3:
        segments[:, -1] = count - 1
    return replace(inputs, segments=segments.clamp(max=count - 1))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_segments_gives_the_logits_of_transformers(count: int) -> None:
    inputs = _with_segments(case(num_memory=5), count)
    assert len(set(inputs.segments.flatten().tolist())) == count
    logits, _ = _our_logits(inputs)
    _assert_equal(logits, hf_model(our_model())(**_hf_arguments(inputs)).logits)


def test_one_segment_is_the_same_as_none() -> None:
    inputs = _with_segments(case(), 1)
    arguments = _hf_arguments(inputs)
    del arguments["token_type_ids"]
    logits, _ = _our_logits(inputs)
    _assert_equal(logits, hf_model(our_model())(**arguments).logits)


def test_tied_attention_biases_are_theirs_copied_and_get_the_sum_of_their_gradients() -> None:
    inputs = case(num_memory=5)
    ours = our_model(shape=SHAPE.model_copy(update={"untie_r": False}))
    layers: Any = ours.backbone.layers
    assert layers[0].attn.bias_position is layers[2].attn.bias_position
    theirs = hf_model(ours)
    logits, _ = ours(
        inputs.tokens, inputs.segments, inputs.keys, inputs.targets, memory=inputs.memory
    )
    output = theirs(**_hf_arguments(inputs))
    _assert_equal(logits, output.logits)
    torch.autograd.backward(logits.square().sum())
    output.logits.square().sum().backward()
    for part, name in (("content", "r_w_bias"), ("position", "r_r_bias"), ("segment", "r_s_bias")):
        grad = getattr(layers[0].attn, f"bias_{part}").grad
        parts = [getattr(layer.rel_attn, name).grad for layer in theirs.transformer.layer]
        scale = grad.abs().max()
        _assert_equal(grad / scale, sum(parts[1:], parts[0]) / scale, name)


def test_untied_biases_are_one_set_more_a_layer() -> None:
    sizes = []
    for untie_r in (True, False):
        shape = SHAPE.model_copy(update={"untie_r": untie_r})
        sizes.append(sum(p.numel() for p in our_model(shape=shape).parameters()))
    assert sizes[0] - sizes[1] == 3 * (SHAPE.num_layers - 1) * SHAPE.d_model


def test_both_streams_of_every_layer_are_those_of_transformers() -> None:
    inputs = case(num_memory=5)
    ours = our_model()
    seen: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.append(output)

    for layer in ours.backbone.layers:
        layer.register_forward_hook(keep)
    ours(inputs.tokens, inputs.segments, inputs.keys, inputs.targets, memory=inputs.memory)
    output = hf_model(our_model())(**_hf_arguments(inputs), output_hidden_states=True)
    # Theirs take turns: content and query of each layer, beginning with the embeddings.
    content, query = output.hidden_states[2::2], output.hidden_states[3::2]
    for mine, h, g in zip(seen[:-1], content[:-1], query[:-1], strict=True):
        _assert_equal(mine[:, :12], h)
        _assert_equal(mine[:, 12:], g)
    _assert_equal(seen[-1], query[-1])


def test_float32_gives_nearly_the_logits_of_transformers() -> None:
    inputs = case(num_memory=5)
    assert inputs.memory is not None
    inputs = replace(inputs, memory=inputs.memory.float())
    ours = our_model().float()
    theirs: Any = XLNetLMHeadModel(hf_config(mem_len=64, use_mems_train=True))
    copy_weights(ours, theirs)
    arguments = _hf_arguments(inputs)
    arguments |= {k: arguments[k].float() for k in ("perm_mask", "target_mapping")}
    logits, _ = ours(
        inputs.tokens, inputs.segments, inputs.keys, inputs.targets, memory=inputs.memory
    )
    their_logits = theirs(**arguments).logits
    assert (logits - their_logits).abs().max() < 1e-5 * their_logits.abs().max()
