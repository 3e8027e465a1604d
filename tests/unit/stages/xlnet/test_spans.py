"""Span selection: the exact number, where spans begin, how long they are."""

from itertools import groupby

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.xlnet.config import SpanConfig
from stages.xlnet.spans import SpanSampler


def _select(
    seed: int, starts: NDArray[np.bool_], goal: int, config: SpanConfig | None = None
) -> NDArray[np.bool_]:
    return SpanSampler(config or SpanConfig()).select(np.random.default_rng(seed), starts, goal)


def _runs(chosen: NDArray[np.bool_]) -> list[int]:
    return [sum(1 for _ in run) for marked, run in groupby(chosen.tolist()) if marked]


@pytest.mark.parametrize(("length", "goal"), [(256, 43), (16, 16), (5, 1), (1, 1)])
def test_select_marks_exactly_the_goal(length: int, goal: int) -> None:
    for seed in range(50):
        assert _select(seed, np.ones(length, bool), goal).sum() == goal


def test_select_without_any_word_start_takes_single_tokens() -> None:
    assert _select(0, np.zeros(64, bool), 10).sum() == 10


def test_spans_alone_reach_what_simulation_of_the_rule_gives() -> None:
    # 36.4 of 43, deviation 1.3, when every piece begins a word: the walk ends before the goal.
    sampler = SpanSampler(SpanConfig())
    reached = [
        sampler.spans(np.random.default_rng(seed), np.ones(256, bool), 43).sum()
        for seed in range(400)
    ]
    assert np.mean(reached) == pytest.approx(36.4, abs=0.3)
    assert np.std(reached) == pytest.approx(1.3, abs=0.3)


def test_span_lengths_are_drawn_with_one_over_n() -> None:
    # Long text and a large alpha: spans hardly touch, so a run is a span.
    config = SpanConfig(alpha=40)
    lengths = np.concatenate(
        [_runs(_select(seed, np.ones(4000, bool), 60, config)) for seed in range(150)]
    )
    shares = np.bincount(lengths, minlength=6)[1:6] / len(lengths)
    expected = np.array([0.438, 0.219, 0.146, 0.109, 0.088])
    np.testing.assert_allclose(shares, expected, atol=0.02)


def test_spans_begin_at_word_starts() -> None:
    starts = np.arange(3000) % 7 == 0
    sampler = SpanSampler(SpanConfig(max_tokens=3, alpha=20))
    chosen = sampler.spans(np.random.default_rng(3), starts, 60)
    assert chosen.sum() > 30
    assert starts[chosen & ~np.roll(chosen, 1)].all()


def test_positions_are_covered_evenly_but_at_the_end() -> None:
    counts = sum(_select(seed, np.ones(128, bool), 21).astype(int) for seed in range(3000))
    # A span never takes the last position, and the walk often ends before the last few.
    share = np.asarray(counts)[:-6] / 3000
    assert share.min() > 0.5 * 21 / 128
    assert share.max() < 1.5 * 21 / 128
