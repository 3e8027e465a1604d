"""Long rows of text, in either direction, and the two segments that follow a place in a row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards import TokenShards

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Segments:
    """Two spans [begin, end) of one row, as long together as they were asked to be."""

    a_begin: int
    a_end: int
    b_begin: int
    b_end: int


class Row:
    """A contiguous part of a split, read forwards or backwards; places count in reading order."""

    def __init__(self, shards: TokenShards, start: int, stop: int, *, is_reversed: bool) -> None:
        self._shards = shards
        self._start = start
        self._stop = stop
        self._ends = shards.sentence_ends
        self.length = stop - start
        self.is_reversed = is_reversed

    def tokens(self, begin: int, end: int) -> Ids:
        """(end - begin,) int64 ids in reading order."""
        if self.is_reversed:
            return self._shards.tokens(self._stop - end, self._stop - begin)[::-1].astype(np.int64)
        return self._shards.tokens(self._start + begin, self._start + end).astype(np.int64)

    def boundaries(self, begin: int, end: int) -> Ids:
        """Rising places p, begin < p < end, where a sentence ends before p and one begins at p."""
        if self.is_reversed:
            low, high = self._stop - end, self._stop - begin
        else:
            low, high = self._start + begin, self._start + end
        first = np.searchsorted(self._ends, low, side="right")
        found = self._ends[first : np.searchsorted(self._ends, high, side="left")]
        return (self._stop - found)[::-1] if self.is_reversed else found - self._start

    def boundary_from(self, place: int) -> int:
        """The first boundary at or after `place`, or the row's end."""
        if self.is_reversed:
            return self._stop - self._end_until(self._stop - place)
        return self._end_from(self._start + place) - self._start

    def boundary_until(self, place: int) -> int:
        """The last boundary at or before `place`, or the row's beginning."""
        if self.is_reversed:
            return self._stop - self._end_from(self._stop - place)
        return self._end_until(self._start + place) - self._start

    def _end_from(self, token: int) -> int:
        """The first sentence end at or after a token of the split, within the row."""
        at = int(np.searchsorted(self._ends, token, side="left"))
        return min(int(self._ends[at]), self._stop) if at < len(self._ends) else self._stop

    def _end_until(self, token: int) -> int:
        """The last sentence end at or before a token of the split, within the row."""
        at = int(np.searchsorted(self._ends, token, side="right")) - 1
        return max(int(self._ends[at]), self._start) if at >= 0 else self._start


def cut_rows(shards: TokenShards, num_rows: int, *, bidirectional: bool) -> list[Row]:
    """Cuts a split into rows of equal length; what is left over at the end is not read.

    Args:
        shards: the split.
        num_rows: rows, counting both directions.
        bidirectional: row 2k + 1 is row 2k read backwards, so that every even number of
            neighbouring rows holds as many of each direction.
    """
    directions = 2 if bidirectional else 1
    num_texts = num_rows // directions
    length = shards.num_tokens // num_texts
    return [
        Row(shards, text * length, (text + 1) * length, is_reversed=bool(direction))
        for text in range(num_texts)
        for direction in range(directions)
    ]


def num_steps(row_length: int, reuse_len: int, budget: int) -> int:
    """Examples a row gives: each has `reuse_len` tokens, and more than `budget` after them."""
    return max(0, -(-(row_length - reuse_len - budget) // reuse_len))


def split_segments(rng: np.random.Generator, row: Row, begin: int, budget: int) -> Segments:
    """Draws what follows place `begin`: two segments of `budget` tokens together.

    Half of the time B continues A; otherwise B comes from a random place of the row. Both begin
    and end with a sentence as far as the budget lets them.

    Args:
        rng: what is drawn from.
        row: the row; more than `budget` tokens follow `begin` in it.
        begin: where A begins.
        budget: tokens of both segments.

    Raises:
        DataError: too little text follows.

    Source: Yang et al. 2019, released code, data_utils.py `_split_a_and_b`.
    """
    if begin + budget >= row.length:
        msg = f"{row.length - begin} tokens after token {begin} of a row, needs over {budget}"
        raise DataError(msg)
    end = row.boundary_from(begin + budget)
    cuts = row.boundaries(begin, min(begin + budget, end))
    random_b = bool(rng.random() < 0.5) or not len(cuts)
    a_end = int(cuts[int(rng.random() * len(cuts))]) if len(cuts) else end
    if random_b:
        wanted = max(1, budget - (a_end - begin))
        b_begin = int(rng.random() * (row.length - wanted))
        b_end = row.boundary_from(b_begin + wanted)
        b_begin = row.boundary_until(b_begin)
    else:
        b_begin, b_end = a_end, end
    num_a, num_b = shorten(a_end - begin, b_end - b_begin, budget)
    return Segments(begin, begin + num_a, b_begin, b_begin + num_b)


def shorten(num_a: int, num_b: int, budget: int) -> tuple[int, int]:
    """Lengths after dropping the last token of the longer one, of B where equal, down to budget.

    Args:
        num_a: length of A.
        num_b: length of B; both together have at least `budget`.
        budget: what both together shall have.
    """
    kept_a = min(num_a, max(budget - num_b, budget - budget // 2))
    return kept_a, budget - kept_a
