"""Which tokens are predicted: short spans that begin at a word, each amid its own context."""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from stages.xlnet.config import SpanConfig


class SpanSampler:
    """Draws the target positions of one half of an example."""

    def __init__(self, config: SpanConfig) -> None:
        shares = 1.0 / np.arange(1, config.max_tokens + 1)
        # Without the last edge: what rounding leaves above it is the longest span all the same.
        self._edges: list[float] = (np.cumsum(shares) / shares.sum())[:-1].tolist()
        self._config = config

    def select(
        self, rng: np.random.Generator, word_starts: NDArray[np.bool_], goal: int
    ) -> NDArray[np.bool_]:
        """Marks exactly `goal` positions: spans, then single tokens at random up to the goal.

        Args:
            rng: what is drawn from.
            word_starts: (length,) whether a position begins a word, in reading order.
            goal: positions to mark, at most length.

        Returns:
            (length,) bool.

        Source: Yang et al. 2019, section 2.3, and released code, data_utils.py
        `_sample_mask_ngram`.
        """
        chosen = self.spans(rng, word_starts, goal)
        missing = goal - int(chosen.sum())
        if missing:
            chosen[rng.permutation(np.flatnonzero(~chosen))[:missing]] = True
        return chosen

    def spans(
        self, rng: np.random.Generator, word_starts: NDArray[np.bool_], goal: int
    ) -> NDArray[np.bool_]:
        """Marks at most `goal` positions, in spans.

        Walks over the text: a span of n tokens (prob ~ 1/n) lies at a random place of a window of
        n + n * alpha // beta tokens, moved right to the next word. Spans are n tokens long, not n
        words, and never take the last token, as in the released code.

        Arguments and source as `select`.
        """
        length = len(word_starts)
        chosen = np.zeros(length, np.bool_)
        starts: list[int] = np.flatnonzero(word_starts).tolist()
        position = num_chosen = 0
        # A span takes a token at least, so the walk cannot outlast these draws.
        for length_draw, place_draw in rng.random((goal, 2)).tolist():
            if position >= length or num_chosen >= goal:
                break
            tokens = min(bisect_left(self._edges, length_draw) + 1, goal - num_chosen)
            context = tokens * self._config.alpha // self._config.beta
            left = int(place_draw * context)
            word = bisect_left(starts, position + left)
            if word == len(starts) or starts[word] + tokens >= length:
                break
            begin = starts[word]
            chosen[begin : begin + tokens] = True
            num_chosen += tokens
            position = begin + tokens + context - left
        return chosen
