from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.metrics.pictures import Heatmap, Spans, Table
from pipeline.spec.context import World
from stages.xlnet.attention import RelativeAttention
from stages.xlnet.objective import PermutationLM
from stages.xlnet.pictures import pictures_of, watched_attention
from tests.xlnet.configs import pretrain_config


@pytest.fixture
def method(token_folder: Path, tokenizer_folder: Path) -> PermutationLM:
    config = pretrain_config(dropout={"hidden": 0.0, "attention": 0.0})
    made = PermutationLM(config, token_folder, tokenizer_folder, place=World(0, 1), seed=3)
    made.model.eval()
    return made


def _evaluate(method: PermutationLM) -> float:
    with torch.no_grad():
        total, count = method.evaluate(method.model)["loss"]
    return float(total / count)


def test_seen_attention_is_a_distribution_that_respects_the_order(method: PermutationLM) -> None:
    _evaluate(method)
    seen = method.seen
    assert seen is not None
    assert sorted(seen.attention) == list(range(1, method.shape.model.num_layers + 1))
    for maps in seen.attention.values():
        assert maps.shape[:2] == (method.shape.model.num_heads, len(seen.targets))
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
        own = seen.targets - len(seen.tokens)  # from the end: keys begin with the memory
        for place, position in enumerate(own):
            # What is predicted is not looked at.
            assert maps[:, place, position].max() < 1e-6
    assert any((maps > 0.01).any() for maps in seen.attention.values())


def test_seen_probabilities_are_those_of_the_loss(method: PermutationLM) -> None:
    # One example alone: its mean loss is that of the probabilities kept.
    method._config = method._config.model_copy(
        update={"held_out": method._config.held_out.model_copy(update={"rows": 2, "max_steps": 1})}
    )
    assert method._held_out is not None
    _evaluate(method)
    seen = method.seen
    assert seen is not None
    batch = method._held_out.batch(*(np.array([n]) for n in (0, 0, 0)))
    labels = batch["labels"][0][batch["labels"][0] >= 0].numpy()
    assert seen.tokens[seen.targets].tolist() == labels.tolist()
    hits = seen.guesses[:, 0] == labels
    np.testing.assert_allclose(seen.guess_probs[hits, 0], seen.true_probs[hits])
    assert np.all(seen.true_probs <= seen.guess_probs[:, 0] + 1e-6)
    assert np.all(np.diff(seen.guess_probs, axis=1) <= 0)


def test_watching_changes_no_score_and_leaves_no_hook(method: PermutationLM) -> None:
    first = _evaluate(method)
    method._place = World(rank=0, size=1)
    assert _evaluate(method) == first
    for module in method.model.modules():
        if isinstance(module, RelativeAttention):
            assert not module.prob_dropout._forward_hooks
    with pytest.raises(ZeroDivisionError), watched_attention(method.model, num_targets=1):
        1 / 0  # noqa: B018 - an error inside
    assert not any(module._forward_hooks for module in method.model.modules())


def test_another_rank_keeps_nothing(token_folder: Path, tokenizer_folder: Path) -> None:
    config = pretrain_config()
    other = PermutationLM(config, token_folder, tokenizer_folder, place=World(1, 2), seed=3)
    other.evaluate(other.model)
    assert other.seen is None


def test_pictures_name_pieces_guesses_and_where_the_rest_went(method: PermutationLM) -> None:
    _evaluate(method)
    seen = method.seen
    assert seen is not None
    pieces = [f"p{n}" for n in range(method.shape.vocab_size)]
    text, table, *maps = pictures_of(seen, pieces)
    assert isinstance(text, Spans)
    assert isinstance(table, Table)
    assert len(text.pieces) == len(seen.tokens)
    labelled = [place for place, label in enumerate(text.labels) if label]
    assert labelled == seen.targets.tolist()
    guessed = [label == "right" for label in text.labels if label]
    assert guessed == (seen.guesses[:, 0] == seen.tokens[seen.targets]).tolist()
    assert [row[0] for row in table.rows] == seen.targets.tolist()
    assert len(maps) == min(4, method.shape.model.num_heads)
    for heat in maps:
        assert isinstance(heat, Heatmap)
        assert heat.values.shape == (len(heat.row_names), len(heat.column_names))
        np.testing.assert_allclose(heat.values.sum(axis=1), 1, atol=1e-4)
