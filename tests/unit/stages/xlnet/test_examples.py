"""Training examples: layout, targets, orders, and that a row is read once from end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, DataError
from stages.xlnet.config import RowsConfig
from stages.xlnet.examples import NO_LABEL, Example, ExampleSource
from stages.xlnet.permutation import blocked
from tests.shards import OTHER_TOKENIZER, TOKENIZER
from tests.xlnet.corpus import CLS, SEP, token_shards, vocabulary

CONFIG = RowsConfig(seq_len=32, reuse_len=16, mem_len=16, perm_size=8, num_predict=7)


def _source(folder: Path, *, num_rows: int = 4, seed: int = 1, **changes: Any) -> ExampleSource:
    return ExampleSource(
        token_shards(folder),
        vocabulary(),
        CONFIG.model_copy(update=changes),
        num_rows=num_rows,
        rows_setting="train.global_batch_size",
        seed=seed,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ExampleSource:
    return _source(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def examples(source: ExampleSource) -> list[Example]:
    return [source.example(0, row, step) for row in range(4) for step in range(source.num_steps)]


@pytest.mark.parametrize("row", range(4))
def test_first_halves_of_a_row_are_its_text_in_order(source: ExampleSource, row: int) -> None:
    halves = [source.example(0, row, step).tokens[:16] for step in range(source.num_steps)]
    text = source._rows[row].tokens(0, 16 * source.num_steps)
    np.testing.assert_array_equal(np.concatenate(halves), text)


@pytest.mark.parametrize("row", range(4))
def test_segment_a_is_what_the_next_step_begins_with(source: ExampleSource, row: int) -> None:
    here, after = source.example(0, row, 3), source.example(0, row, 4)
    num_a = int((here.tokens == SEP).argmax()) - 16
    assert num_a > 0
    shown = min(num_a, 16)
    np.testing.assert_array_equal(here.tokens[16 : 16 + shown], after.tokens[:shown])


def test_second_half_ends_with_sep_b_sep_cls(examples: list[Example]) -> None:
    for example in examples:
        assert example.tokens[-2:].tolist() == [SEP, CLS]
        (first_sep, last_sep) = np.flatnonzero(example.tokens == SEP)
        assert last_sep == 30
        assert (example.segments[: first_sep + 1] == 0).all()
        assert (example.segments[first_sep + 1 : -1] == 1).all()
        assert example.segments[-1] == 2


def test_labels_are_the_tokens_at_the_targets(examples: list[Example]) -> None:
    for example in examples:
        used = example.labels != NO_LABEL
        targets = example.targets[used]
        np.testing.assert_array_equal(example.tokens[targets], example.labels[used])
        assert (np.diff(targets) > 0).all()
        assert not np.isin(example.labels[used], (SEP, CLS)).any()
        assert (example.targets[~used] == 0).all()


def test_each_half_has_its_share_of_targets(examples: list[Example]) -> None:
    firsts = [(e.targets[e.labels != NO_LABEL] < 16).sum() for e in examples]
    seconds = [(e.targets[e.labels != NO_LABEL] >= 16).sum() for e in examples]
    assert set(firsts) == {4}
    assert max(seconds) == 3
    assert min(seconds) < 3  # SEP and CLS are sometimes drawn, and never predicted


def test_targets_alone_see_less_than_themselves(examples: list[Example]) -> None:
    for example in examples:
        keys = torch.from_numpy(example.row_keys)[None], torch.from_numpy(example.column_keys)[None]
        itself = blocked(*keys)[0].diagonal().numpy()
        targets = example.targets[example.labels != NO_LABEL]
        np.testing.assert_array_equal(np.flatnonzero(itself), targets)


def test_example_is_a_pure_function_of_its_place(source: ExampleSource, tmp_path: Path) -> None:
    again = _source(tmp_path)
    for name in Example.__annotations__:
        here, there = (getattr(s.example(2, 1, 5), name) for s in (source, again))
        np.testing.assert_array_equal(here, there)


def test_another_epoch_or_seed_draws_anew(source: ExampleSource, tmp_path: Path) -> None:
    here = source.example(0, 0, 0).row_keys
    assert (here != source.example(1, 0, 0).row_keys).any()
    assert (here != _source(tmp_path, seed=2).example(0, 0, 0).row_keys).any()


def test_batch_puts_reversed_rows_last(source: ExampleSource) -> None:
    rows = np.arange(4)
    batch = source.batch(np.zeros(4, np.int64), rows, np.full(4, 2))
    assert batch["rows"].tolist() == [0, 2, 1, 3]
    for place, row in enumerate(batch["rows"].tolist()):
        expected = torch.from_numpy(source.example(0, row, 2).tokens)
        assert torch.equal(batch["tokens"][place], expected)


def test_batch_of_one_direction_keeps_the_order(tmp_path: Path) -> None:
    source = _source(tmp_path, num_rows=3, bidirectional=False)
    batch = source.batch(np.zeros(3, np.int64), np.arange(3), np.zeros(3, np.int64))
    assert batch["rows"].tolist() == [0, 1, 2]


def test_corpus_smaller_than_a_batch_says_what_would_fit(tmp_path: Path) -> None:
    message = (
        r"split 'train' has 2000 tokens, 20 for each of 200 rows; a row needs over 29\. "
        r"Use more text, a smaller train\.global_batch_size or a smaller rows\.seq_len"
    )
    with pytest.raises(DataError, match=message):
        _source(tmp_path, num_rows=200)


def test_shards_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    other = vocabulary(tokenizer=OTHER_TOKENIZER)
    with pytest.raises(ConfigError, match=f"is {TOKENIZER}, .* given is {OTHER_TOKENIZER}"):
        ExampleSource(token_shards(tmp_path), other, CONFIG, num_rows=2, rows_setting="", seed=0)
