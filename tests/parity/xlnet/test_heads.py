"""The heads against those of transformers: same weights, same logits, losses and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    XLNetForMultipleChoice,
    XLNetForQuestionAnswering,
    XLNetForSequenceClassification,
)

from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.heads import Classifier
from stages.xlnet.names import weights_there
from stages.xlnet.permutation import padding_keys
from stages.xlnet.span_reader import SpanReader
from tests.parity.xlnet.hf import hf_config, positions_in_float64
from tests.xlnet.models import NO_DROPOUT, SHAPE, VOCAB_SIZE, Case, case, scatter

TOLERANCE = 1e-10
BEAMS = 3
TINY_BEAM = 1e-9
"""A beam whose probability is below it may stand in another order."""


def _close(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    difference = (ours - theirs).abs().max().item()
    assert difference <= TOLERANCE, f"{what} differs by {difference}"


def _theirs(kind: Any, ours: nn.Module, **options: Any) -> Any:
    theirs = kind(hf_config(**options)).double()
    theirs.load_state_dict(weights_there(ours.state_dict(), SHAPE, "transformers"))
    positions_in_float64(theirs)
    return theirs


def _inputs(batch: int) -> tuple[Case, Tensor, tuple[Tensor, Tensor]]:
    """A batch, padded on the left by different lengths."""
    inputs = case(batch=batch)
    is_padding = torch.arange(12)[None, :] < torch.arange(batch)[:, None] * 2
    return inputs, is_padding, padding_keys(is_padding)


def _compare_gradients(ours: nn.Module, theirs: Any) -> None:
    grads = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    mine = weights_there(grads, SHAPE, "transformers")
    assert mine.keys() == expected.keys()
    for name, grad in mine.items():
        _close(grad, expected[name], name)


@pytest.mark.parametrize("num_classes", [3, 1])
def test_classifier_is_that_of_transformers(num_classes: int) -> None:
    """One class: regression, by the squared error."""
    ours = scatter(Classifier(SHAPE, VOCAB_SIZE, NO_DROPOUT, num_classes=num_classes))
    theirs = _theirs(XLNetForSequenceClassification, ours, num_labels=num_classes)
    inputs, is_padding, keys = _inputs(4)
    labels = torch.tensor([0, 2, 1, 2]) if num_classes > 1 else torch.randn(4).double()
    logits = ours(inputs.tokens, inputs.segments, keys)
    loss = (
        functional.cross_entropy(logits, labels)
        if num_classes > 1
        else functional.mse_loss(logits[:, 0], labels)
    )
    torch.autograd.backward(loss)
    output = theirs(
        inputs.tokens,
        token_type_ids=inputs.segments,
        attention_mask=(~is_padding).double(),
        labels=labels,
    )
    output.loss.backward()
    _close(logits, output.logits)
    _close(loss, output.loss)
    _compare_gradients(ours, theirs)


def test_multiple_choice_is_that_of_transformers() -> None:
    ours = scatter(Classifier(SHAPE, VOCAB_SIZE, NO_DROPOUT, num_classes=1))
    theirs = _theirs(XLNetForMultipleChoice, ours)
    inputs, is_padding, keys = _inputs(6)
    labels = torch.tensor([2, 0])
    scores = ours(inputs.tokens, inputs.segments, keys).view(2, 3)
    loss = functional.cross_entropy(scores, labels)
    torch.autograd.backward(loss)
    output = theirs(
        inputs.tokens.view(2, 3, -1),
        token_type_ids=inputs.segments.view(2, 3, -1),
        attention_mask=(~is_padding).double().view(2, 3, -1),
        labels=labels,
    )
    output.loss.backward()
    _close(scores, output.logits)
    _close(loss, output.loss)
    _compare_gradients(ours, theirs)


@pytest.fixture(scope="module")
def readers() -> tuple[SpanReader, Any]:
    ours = scatter(SpanReader(SHAPE, VOCAB_SIZE, NO_DROPOUT))
    options = {"start_n_top": BEAMS, "end_n_top": BEAMS}
    return ours, _theirs(XLNetForQuestionAnswering, ours, **options)


def _barred(inputs: Case, is_padding: Tensor) -> Tensor:
    """All but the first segment and CLS."""
    return (inputs.segments == 1) | is_padding


def test_span_loss_is_that_of_transformers(readers: tuple[SpanReader, Any]) -> None:
    ours, theirs = readers
    inputs, is_padding, keys = _inputs(3)
    barred = _barred(inputs, is_padding)
    starts, ends = torch.tensor([11, 4, 11]), torch.tensor([11, 4, 11])
    assert not barred.gather(1, starts[:, None]).any()
    start, end, _ = ours(inputs.tokens, inputs.segments, keys, barred, starts=starts)
    loss = (functional.cross_entropy(start, starts) + functional.cross_entropy(end, ends)) / 2
    torch.autograd.backward(loss)
    output = theirs(
        inputs.tokens,
        token_type_ids=inputs.segments,
        attention_mask=(~is_padding).double(),
        p_mask=barred.double(),
        start_positions=starts,
        end_positions=ends,
    )
    output.loss.backward()
    _close(loss, output.loss)
    _compare_gradients(ours, theirs)


@torch.no_grad()
def test_beams_are_those_of_transformers_with_each_end_at_its_own_start(
    readers: tuple[SpanReader, Any],
) -> None:
    """Theirs come as [end rank][start rank]; read the other way round, ends change places."""
    ours, theirs = readers
    inputs, is_padding, keys = _inputs(3)
    barred = _barred(inputs, is_padding)
    starts, start_scores, ends, end_scores, no_answer = ours(
        inputs.tokens, inputs.segments, keys, barred, num_beams=BEAMS
    )
    output = theirs(
        inputs.tokens,
        token_type_ids=inputs.segments,
        attention_mask=(~is_padding).double(),
        p_mask=barred.double(),
    )
    assert torch.equal(starts, output.start_top_index)
    _close(start_scores.exp(), output.start_top_log_probs)  # they call probabilities so
    their_ends = output.end_top_index.view(3, BEAMS, BEAMS).transpose(1, 2)
    their_scores = output.end_top_log_probs.view(3, BEAMS, BEAMS).transpose(1, 2)
    _close(end_scores.exp(), their_scores)
    certain = their_scores > TINY_BEAM
    assert torch.equal(ends[certain], their_ends[certain])
    wrong = output.end_top_index.view(3, BEAMS, BEAMS)
    assert not torch.equal(ends[certain], wrong[certain])
    _close(no_answer, output.cls_logits)


@pytest.mark.parametrize("beam", range(BEAMS))
@torch.no_grad()
def test_ends_of_a_beam_are_those_given_its_start(
    readers: tuple[SpanReader, Any], beam: int
) -> None:
    ours, _ = readers
    inputs, is_padding, keys = _inputs(3)
    barred = _barred(inputs, is_padding)
    arguments = (inputs.tokens, inputs.segments, keys, barred)
    starts, _, _, end_scores, _ = ours(*arguments, num_beams=BEAMS)
    _, end_logits, _ = ours(*arguments, starts=starts[:, beam])
    best = end_logits.log_softmax(dim=-1).topk(BEAMS, dim=-1).values
    _close(best.exp(), end_scores[:, beam].exp())


def test_head_of_answers_has_the_released_number_of_parameters() -> None:
    counts = []
    for preset in ("base", "large"):
        with torch.device("meta"):
            config = ModelConfig.model_validate({"preset": preset})
            model = SpanReader(config, 32_000, DropoutConfig())
        counts.append(sum(p.numel() for p in model.parameters()))
    assert counts == [119_083_010, 364_470_274]
