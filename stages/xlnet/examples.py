"""Rows of text to training examples: two halves, targets in both, an order for each."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import DataError
from pipeline.shards import TokenShards
from pipeline.shards.tokenizer import require_same_tokenizer
from pipeline.training.seeding import generator
from stages.xlnet.config import RowsConfig
from stages.xlnet.permutation import attention_keys, draw_ranks, join_halves
from stages.xlnet.rows import Ids, Row, cut_rows, num_steps, split_segments
from stages.xlnet.spans import SpanSampler
from stages.xlnet.vocabulary import Vocabulary

NO_LABEL = -100
"""Label of a place in the target list that is not used; torch's cross-entropy ignores it."""

SEGMENT_A, SEGMENT_B, SEGMENT_CLS = 0, 1, 2


@dataclass(frozen=True)
class Example:
    """One example; all int64.

    Attributes:
        tokens, segments: (seq_len,).
        row_keys, column_keys: (seq_len,) the factorization order; see `permutation`.
        targets: (num_predict,) rising positions, then zeros.
        labels: (num_predict,) the tokens at the targets, then NO_LABEL.
    """

    tokens: Ids
    segments: Ids
    row_keys: Ids
    column_keys: Ids
    targets: Ids
    labels: Ids


class ExampleSource:
    """The examples of a split: row r at step t is a pure function of (seed, epoch, r, t).

    Step t begins t * reuse_len tokens into the row, so a row is read once from end to end, and what
    a step caches of its first half is what comes just before the next step.

    Attributes:
        num_rows: rows, counting both directions.
        num_steps: examples a row has.
    """

    def __init__(
        self,
        shards: TokenShards,
        vocabulary: Vocabulary,
        config: RowsConfig,
        *,
        num_rows: int,
        rows_setting: str,
        seed: int,
    ) -> None:
        """Cuts the split into rows.

        Args:
            shards: the split.
            vocabulary: of the tokenizer that made them.
            config: layout of an example.
            num_rows: rows, counting both directions.
            rows_setting: what the configuration calls `num_rows`.
            seed: of every draw.

        Raises:
            DataError: the split is too small for so many rows.
            ConfigError: another tokenizer made it.
        """
        require_same_tokenizer(shards.folder, shards.tokenizer, vocabulary.tokenizer)
        self._rows = cut_rows(shards, num_rows, bidirectional=config.bidirectional)
        self._vocabulary = vocabulary
        self._config = config
        self._sampler = SpanSampler(config.spans)
        self._seed = seed
        self.num_rows = num_rows
        length = self._rows[0].length
        self.num_steps = num_steps(length, config.reuse_len, config.segment_budget)
        if self.num_steps < 1:
            needed = config.reuse_len + config.segment_budget
            msg = (
                f"{shards.folder}: split {shards.split!r} has {shards.num_tokens} tokens, {length} "
                f"for each of {num_rows} rows; a row needs over {needed}. Use more text, a smaller "
                f"{rows_setting} or a smaller rows.seq_len"
            )
            raise DataError(msg)

    def example(self, epoch: int, row: int, step: int) -> Example:
        """The example of a row at a step, 0 <= step < num_steps."""
        rng = generator(self._seed, "example", epoch, row, step)
        text, config = self._rows[row], self._config
        begin = step * config.reuse_len
        tokens, segments = self._tokens(rng, text, begin)
        is_special = np.isin(tokens, (self._vocabulary.sep, self._vocabulary.cls))
        begins_word = self._vocabulary.begins_word[tokens]
        halves = (slice(0, config.reuse_len), slice(config.reuse_len, config.seq_len))
        keys, marks = [], []
        for half, goal in zip(halves, config.num_predict_halves, strict=True):
            marked = self._select(rng, begins_word[half], goal, is_reversed=text.is_reversed)
            ranks = draw_ranks(rng, len(marked), config.perm_size)
            keys.append(attention_keys(ranks, marked, is_special[half]))
            marks.append(marked)
        row_keys, column_keys = join_halves(keys[0], keys[1])
        chosen = np.flatnonzero(np.concatenate(marks) & ~is_special)
        targets = np.zeros(config.num_predict, np.int64)
        labels = np.full(config.num_predict, NO_LABEL, np.int64)
        targets[: len(chosen)] = chosen
        labels[: len(chosen)] = tokens[chosen]
        return Example(tokens, segments, row_keys, column_keys, targets, labels)

    def batch(self, epoch: Ids, row: Ids, step: Ids) -> dict[str, Tensor]:
        """Examples as tensors (examples, ...) by field name, reversed rows last.

        Args:
            epoch: (examples,) how often the row was read before.
            row: (examples,) which row.
            step: (examples,) which example of the row.

        Returns:
            the fields of `Example` and "rows", (examples,) int64, which row each one is.
        """
        if self._config.bidirectional:
            by_direction = np.argsort(row % 2, kind="stable")
            epoch, row, step = epoch[by_direction], row[by_direction], step[by_direction]
        examples = [
            self.example(int(e), int(r), int(s)) for e, r, s in zip(epoch, row, step, strict=True)
        ]
        batch = {
            name: torch.from_numpy(np.stack([getattr(example, name) for example in examples]))
            for name in Example.__annotations__
        }
        return batch | {"rows": torch.from_numpy(row)}

    def _tokens(self, rng: np.random.Generator, text: Row, begin: int) -> tuple[Ids, Ids]:
        """First half, A, SEP, B, SEP, CLS, and the segment of each."""
        config, vocabulary = self._config, self._vocabulary
        middle = begin + config.reuse_len
        two = split_segments(rng, text, middle, config.segment_budget)
        tokens = np.empty(config.seq_len, np.int64)
        segments = np.full(config.seq_len, SEGMENT_A, np.int64)
        first_sep = config.reuse_len + two.a_end - two.a_begin
        tokens[:first_sep] = text.tokens(begin, two.a_end)
        tokens[first_sep] = tokens[-2] = vocabulary.sep
        tokens[first_sep + 1 : -2] = text.tokens(two.b_begin, two.b_end)
        tokens[-1] = vocabulary.cls
        segments[first_sep + 1 : -1] = SEGMENT_B
        segments[-1] = SEGMENT_CLS
        return tokens, segments

    def _select(
        self,
        rng: np.random.Generator,
        begins_word: NDArray[np.bool_],
        goal: int,
        *,
        is_reversed: bool,
    ) -> NDArray[np.bool_]:
        """Selected positions of a half; spans follow the order in which the text was written."""
        if is_reversed:
            return self._sampler.select(rng, begins_word[::-1], goal)[::-1]
        return self._sampler.select(rng, begins_word, goal)
