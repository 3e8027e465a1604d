"""Rows in both directions, and the two segments that follow a place."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards import TokenShards, TokenShardWriter
from stages.xlnet.rows import Row, cut_rows, num_steps, shorten, split_segments
from tests.shards import TOKENIZER
from tests.xlnet.corpus import token_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    return token_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(params=[False, True], ids=["forwards", "reversed"])
def row(request: pytest.FixtureRequest, shards: TokenShards) -> Row:
    return Row(shards, 500, 1000, is_reversed=request.param)


def _boundaries(row: Row, shards: TokenShards) -> list[int]:
    """Every place of the row where a sentence begins or ends, by looking at each."""
    ends = set(shards.sentence_ends.tolist())
    places = range(1, row.length)
    return [p for p in places if (1000 - p if row.is_reversed else 500 + p) in ends]


def test_reversed_row_reads_the_text_backwards(shards: TokenShards) -> None:
    forwards = Row(shards, 500, 1000, is_reversed=False).tokens(0, 500)
    backwards = Row(shards, 500, 1000, is_reversed=True)
    np.testing.assert_array_equal(backwards.tokens(0, 500), forwards[::-1])
    np.testing.assert_array_equal(backwards.tokens(10, 20), forwards[::-1][10:20])


def test_boundaries_are_the_sentence_ends_inside(row: Row, shards: TokenShards) -> None:
    expected = _boundaries(row, shards)
    assert row.boundaries(0, 500).tolist() == expected
    low, high = expected[3], expected[9]
    assert row.boundaries(low, high).tolist() == expected[4:9]


def test_boundary_from_and_until_are_the_nearest(row: Row, shards: TokenShards) -> None:
    known = _boundaries(row, shards)
    for place in range(1, 500):
        assert row.boundary_from(place) == min([p for p in known if p >= place], default=500)
        assert row.boundary_until(place) == max([p for p in known if p <= place], default=0)


def test_segments_fill_the_budget_and_follow_the_rule(row: Row) -> None:
    budget, begin = 61, 100
    for seed in range(200):
        two = split_segments(np.random.default_rng(seed), row, begin, budget)
        assert two.a_begin == begin
        assert two.a_end - two.a_begin + two.b_end - two.b_begin == budget
        assert two.a_begin < two.a_end
        assert 0 <= two.b_begin < two.b_end <= row.length
        assert two.b_begin == row.boundary_until(two.b_begin)  # B begins with a sentence


def test_segments_continue_half_of_the_time(row: Row) -> None:
    draws = [split_segments(np.random.default_rng(seed), row, 100, 61) for seed in range(1000)]
    begins_near = [100 < two.b_begin < 161 for two in draws]
    by_chance = 0.5 * 61 / 500  # a random place lies there too
    assert np.mean(begins_near) == pytest.approx(0.5 + by_chance, abs=0.06)


def test_segments_without_a_boundary_take_a_random_second(tmp_path: Path) -> None:
    with TokenShardWriter(tmp_path, vocab_size=20, tokenizer=TOKENIZER) as writer:
        writer.add("train", np.arange(300) % 11 + 9, sentence_ends=[300])
    row = Row(TokenShards(tmp_path), 0, 300, is_reversed=False)
    two = split_segments(np.random.default_rng(0), row, 50, 40)
    assert (two.b_begin, two.a_end - two.a_begin) == (0, 20)


def test_segments_refuse_a_place_too_near_the_end(row: Row) -> None:
    with pytest.raises(DataError, match="60 tokens after token 440 of a row, needs over 60"):
        split_segments(np.random.default_rng(0), row, 440, 60)


def test_shorten_drops_from_the_longer_one_token_at_a_time() -> None:
    for num_a, num_b in product(range(1, 25), repeat=2):
        for budget in range(2, num_a + num_b + 1):
            a, b = num_a, num_b
            while a + b > budget:
                a, b = (a - 1, b) if a > b else (a, b - 1)
            assert shorten(num_a, num_b, budget) == (a, b)


def test_last_step_is_the_last_that_fits() -> None:
    reuse, budget = 10, 7
    for length in range(100):
        fits = [t for t in range(20) if t * reuse + reuse + budget < length]
        assert num_steps(length, reuse, budget) == len(fits)


def test_cut_rows_pairs_each_text_with_its_reverse(shards: TokenShards) -> None:
    rows = cut_rows(shards, 6, bidirectional=True)
    assert [row.is_reversed for row in rows] == [False, True] * 3
    assert {row.length for row in rows} == {2000 // 3}
    np.testing.assert_array_equal(rows[2].tokens(0, 50)[::-1], rows[3].tokens(616, 666))
