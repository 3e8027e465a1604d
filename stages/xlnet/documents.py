"""Labelled documents as model inputs: windows of long ones, padded on the left."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import DataError
from pipeline.shards import TokenShards
from pipeline.shards.tokenizer import require_same_tokenizer
from stages.xlnet.config import ClassifyConfig
from stages.xlnet.examples import SEGMENT_A, SEGMENT_CLS
from stages.xlnet.permutation import padding_keys
from stages.xlnet.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

SEGMENT_PADDING = 4
_LENGTH_STEP = 8  # inputs are padded to a multiple: few shapes, and aligned matrices

Ids = NDArray[np.int64]


class Documents:
    """One split of SHARDS(classified).

    Attributes:
        labels: (documents,) int64 class of each.
        num_windows: (documents,) inputs that cover a document; 1 each with long_documents: head.
    """

    def __init__(self, shards: TokenShards, vocabulary: Vocabulary, config: ClassifyConfig) -> None:
        """Raises DataError when the split is empty, ConfigError when another tokenizer made it."""
        require_same_tokenizer(shards.folder, shards.tokenizer, vocabulary.tokenizer)
        if not shards.num_documents:
            msg = f"{shards.folder}: split {shards.split!r} has no documents"
            raise DataError(msg)
        self._shards = shards
        self._vocabulary = vocabulary
        self._room = config.max_len - 2
        self.labels = shards.labels.astype(np.int64)
        self._lengths = np.diff(shards.document_ends, prepend=0)
        is_long = self._lengths > self._room
        if config.long_documents == "head":
            self.num_windows = np.ones(len(self.labels), np.int64)
            what = "only the beginning of each is read"
        else:
            self.num_windows = np.maximum(1, -(-self._lengths // self._room))
            what = "each is read in windows"
        if is_long.any():
            logger.warning(
                "split %s: %d of %d documents are longer than %d tokens: %s",
                shards.split,
                is_long.sum(),
                len(is_long),
                self._room,
                what,
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def window_lengths(self) -> Ids:
        """(documents,) tokens of each document's windows."""
        return np.minimum(self._lengths, self._room)

    def window(self, document: int, number: int) -> Ids:
        """Tokens of a window, 0 <= number < num_windows[document]; evenly spread, all covered."""
        tokens = self._shards.document(document)
        count = int(self.num_windows[document])
        start = number * (len(tokens) - self._room) // (count - 1) if count > 1 else 0
        return tokens[start : start + self._room].astype(np.int64)

    def inputs(self, windows: Sequence[Ids]) -> dict[str, Tensor]:
        """Windows as model inputs: tokens, SEP, CLS, as long as the longest, padded on the left.

        Returns:
            tokens, segments, row_keys, column_keys: (windows, length) int64.
        """
        longest = max(len(window) for window in windows) + 2
        length = -(-longest // _LENGTH_STEP) * _LENGTH_STEP
        tokens = np.full((len(windows), length), self._vocabulary.pad, np.int64)
        segments = np.full((len(windows), length), SEGMENT_PADDING, np.int64)
        for row, window in enumerate(windows):
            begin = length - len(window) - 2
            tokens[row, begin:-2] = window
            segments[row, begin:] = SEGMENT_A
        tokens[:, -2] = self._vocabulary.sep
        tokens[:, -1] = self._vocabulary.cls
        segments[:, -1] = SEGMENT_CLS
        row_keys, column_keys = padding_keys(torch.from_numpy(segments == SEGMENT_PADDING))
        return {
            "tokens": torch.from_numpy(tokens),
            "segments": torch.from_numpy(segments),
            "row_keys": row_keys,
            "column_keys": column_keys,
        }
