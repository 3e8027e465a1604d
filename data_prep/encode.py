"""Text to token ids with a trained tokenizer, in batches; sentence ends are found in the ids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.normalise import Normaliser, is_digit, is_small
from pipeline.shards.tokenizer import SPACE, Tokenizer
from pipeline.shards.writer import joined_ends

_ENDS = (".", "!", "?", "\N{HORIZONTAL ELLIPSIS}")
_ENDS_ALONE = ("\N{IDEOGRAPHIC FULL STOP}", "\N{FULLWIDTH EXCLAMATION MARK}")
_CLOSERS = frozenset("\"')]}\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}")

Ids = NDArray[np.int32]
Ends = NDArray[np.int64]


class TextEncoder:
    """What a TOKENIZER artifact makes of text.

    Attributes:
        tokenizer: the artifact, loaded.
        normalise: makes of any text what `encode` takes.

    Raises:
        InputError: the artifact's files are missing or damaged.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self.tokenizer = Tokenizer(folder)
        self.normalise = Normaliser.described(self.tokenizer.description)
        self._threads = threads
        self._digit_comma = _DigitComma(self.tokenizer)
        cased = not self.normalise.config.lower
        self._sentences = _SentenceTable(self.tokenizer.pieces, cased=cased)

    def encode(self, texts: list[str]) -> tuple[Ids, Ends]:
        """Encodes normalised texts.

        Returns:
            ids: (tokens,) of all texts, one after the other.
            ends: (texts,) index after each text's last token.
        """
        if not texts:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        arrays = self.tokenizer.encode(texts, threads=self._threads)
        ends = np.cumsum(np.fromiter(map(len, arrays), np.int64, len(arrays)))
        return self._digit_comma.split(np.concatenate(arrays), ends)

    def sentence_ends(self, ids: Ids) -> Ends:
        """(sentences,) index after the last token of each sentence inside `ids`, rising.

        A sentence ends with a piece in . ! ? or an ellipsis, and quotes or brackets that close
        after it, when the next word does not begin with a small letter. What `ids` ends with is
        not reported.
        """
        return self._sentences.ends(ids)


class _DigitComma:
    """XLNet's rule: a piece that ends in a digit and a comma becomes its parts and the comma.

    Otherwise "1," and "1" are unrelated pieces. The parts depend on the piece alone, so each is
    encoded once.

    Source: Yang et al. 2019, released code, prepro_utils.py.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        pieces = tokenizer.pieces
        parts = [np.array([i], np.int32) for i in range(len(pieces))]
        self._affected = np.zeros(len(pieces), bool)
        comma = tokenizer.piece_id(",")
        for i, piece in enumerate(pieces):
            if len(piece) > 1 and piece[-1] == "," and is_digit(piece[-2]):
                inner = tokenizer.split(piece[:-1].replace(SPACE, ""))
                if piece[0] != SPACE and inner[0].startswith(SPACE):
                    inner = inner[1:] if inner[0] == SPACE else [inner[0][1:], *inner[1:]]
                ids = [tokenizer.piece_id(part) for part in inner]
                parts[i] = np.array([*ids, comma], np.int32)
                self._affected[i] = True
        self._lengths = np.array([len(part) for part in parts], np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._parts = np.concatenate(parts)

    def split(self, ids: Ids, ends: Ends) -> tuple[Ids, Ends]:
        """The ids with affected pieces replaced, and the ends moved with them."""
        if not self._affected[ids].any():
            return ids, ends
        lengths = self._lengths[ids]
        new_ends = np.cumsum(lengths)
        within = np.arange(new_ends[-1]) - np.repeat(new_ends - lengths, lengths)
        new_ids = self._parts[np.repeat(self._starts[ids], lengths) + within]
        return new_ids, np.concatenate([[0], new_ends])[ends]


class _SentenceTable:
    """What each piece means for the end of a sentence, as bits."""

    _ENDS = 1  # . ! ?
    _ENDS_ALONE = 2  # full stops after which no space stands
    _CLOSES = 4  # quotes and brackets that belong to what they close
    _BEGINS = 8  # a word that is no small letter's

    def __init__(self, pieces: Sequence[str], *, cased: bool) -> None:
        self._bits = np.zeros(len(pieces), np.uint8)
        for i, piece in enumerate(pieces):
            word = piece.removeprefix(SPACE)
            closes = word == piece and bool(word) and _CLOSERS.issuperset(word)
            begins = word != piece and not (cased and is_small(word[:1]))
            self._bits[i] = (
                self._ENDS * word.endswith(_ENDS)
                | self._ENDS_ALONE * word.endswith(_ENDS_ALONE)
                | self._CLOSES * closes
                | self._BEGINS * begins
            )

    def ends(self, ids: Ids) -> Ends:
        # A last piece that says nothing: what stands behind the end of `ids`.
        bits = np.append(self._bits[ids], np.uint8(0))
        after = np.flatnonzero(bits & self._ENDS) + 1
        for _ in range(2):  # He said "no (really!)." closes twice at most
            after += (bits[after] & self._CLOSES) > 0
        alone = np.flatnonzero(bits & self._ENDS_ALONE) + 1
        return joined_ends(after[(bits[after] & self._BEGINS) > 0], alone[alone < len(ids)])
