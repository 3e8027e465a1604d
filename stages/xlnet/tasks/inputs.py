"""Texts as model inputs: encoded, cut into windows, packed with SEP and CLS, padded on the left."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_prep.encode import TextEncoder
from stages.xlnet.documents import SEGMENT_PADDING, Ids
from stages.xlnet.examples import SEGMENT_A, SEGMENT_B, SEGMENT_CLS
from stages.xlnet.permutation import padding_keys
from stages.xlnet.vocabulary import Vocabulary, read_vocabulary

_LENGTH_STEP = 8  # inputs are padded to a multiple: few shapes, and aligned matrices


class Encoder:
    """Raw text to ids, as the tokenizer's training text was treated.

    Attributes:
        vocabulary: special ids.
        text: data_prep's encoder.
    """

    def __init__(self, tokenizer: Path) -> None:
        """Raises InputError when the tokenizer is damaged or made by other rules than ours."""
        self.vocabulary: Vocabulary = read_vocabulary(tokenizer)
        self.text = TextEncoder(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """(tokens,) int64 ids of each text."""
        ids, ends = self.text.encode([self.text.normalise(text) for text in texts])
        return [part.astype(np.int64) for part in np.split(ids, ends[:-1])] if len(texts) else []


def pack(pairs: Sequence[tuple[Ids, Ids | None]], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """A SEP [B SEP] CLS, as long as the longest, padded on the left.

    Args:
        pairs: (A, B) or (A, None) of each input.
        vocabulary: gives SEP, CLS and padding.

    Returns:
        tokens, segments, row_keys, column_keys: (inputs, length) int64.

    Source: Yang et al. 2019, released code, classifier_utils.py.
    """
    rows = []
    for a, b in pairs:
        parts = [a, [vocabulary.sep]]
        kinds = [np.full(len(a) + 1, SEGMENT_A)]
        if b is not None:
            parts += [b, [vocabulary.sep]]
            kinds.append(np.full(len(b) + 1, SEGMENT_B))
        tokens = np.concatenate([*parts, [vocabulary.cls]]).astype(np.int64)
        rows.append((tokens, np.concatenate([*kinds, [SEGMENT_CLS]])))
    longest = max(len(tokens) for tokens, _ in rows)
    length = -(-longest // _LENGTH_STEP) * _LENGTH_STEP
    tokens = np.full((len(rows), length), vocabulary.pad, np.int64)
    segments = np.full((len(rows), length), SEGMENT_PADDING, np.int64)
    for place, (ids, kinds_of) in enumerate(rows):
        tokens[place, length - len(ids) :] = ids
        segments[place, length - len(ids) :] = kinds_of
    row_keys, column_keys = padding_keys(torch.from_numpy(segments == SEGMENT_PADDING))
    return {
        "tokens": torch.from_numpy(tokens),
        "segments": torch.from_numpy(segments),
        "row_keys": row_keys,
        "column_keys": column_keys,
    }


def window_starts(length: int, room: int) -> list[int]:
    """Where windows of `room` begin that cover `length`, evenly spread; one where it fits."""
    count = max(1, -(-length // max(1, room)))
    return [number * (length - room) // (count - 1) if count > 1 else 0 for number in range(count)]


def pair_windows(a: Ids, b: Ids | None, room: int) -> list[tuple[Ids, Ids | None]]:
    """Windows over a text or a pair of texts, all of it covered.

    The longer text is read in windows beside the whole of the shorter one; where that takes over
    half of the room, it is read in windows too.

    Args:
        a: first text.
        b: second text, if any.
        room: tokens of both in one input, SEP and CLS not counted.
    """
    if b is None:
        return [(a[start : start + room], None) for start in window_starts(len(a), room)]
    if len(a) + len(b) <= room:
        return [(a, b)]
    half = room // 2
    room_a = room - min(len(b), half) if len(a) >= len(b) else min(len(a), half)
    room_b = room - room_a
    starts_a, starts_b = _together(len(a), room_a, len(b), room_b)
    return [(a[i : i + room_a], b[j : j + room_b]) for i, j in zip(starts_a, starts_b, strict=True)]


def _together(len_a: int, room_a: int, len_b: int, room_b: int) -> tuple[list[int], list[int]]:
    """As many beginnings for both, as the one with more windows needs."""
    count = max(len(window_starts(len_a, room_a)), len(window_starts(len_b, room_b)))

    def spread(length: int, room: int) -> list[int]:
        last = max(0, length - room)
        return [number * last // max(1, count - 1) for number in range(count)]

    return spread(len_a, room_a), spread(len_b, room_b)
