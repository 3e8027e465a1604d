"""Text to token ids with a trained tokenizer, in batches; sentence ends are found in the ids."""

from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from data_prep.normalise import Normaliser
from data_prep.pieces import MODEL_FILE, read_description
from pipeline.errors import InputError
from pipeline.shards.writer import joined_ends

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_ENDS = (".", "!", "?", "\N{HORIZONTAL ELLIPSIS}")
_ENDS_ALONE = ("\N{IDEOGRAPHIC FULL STOP}", "\N{FULLWIDTH EXCLAMATION MARK}")
_CLOSERS = frozenset("\"')]}\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}")

Ids = NDArray[np.int32]
Ends = NDArray[np.int64]


class TextEncoder:
    """A TOKENIZER artifact, loaded.

    Attributes:
        vocab_size: number of pieces.
        special: name -> id of the special pieces.

    Raises:
        InputError: the artifact's files are missing or damaged.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        description = read_description(folder)
        self.vocab_size = description.vocab_size
        self.special = description.special
        self.normalise = Normaliser(description.normalisation)
        self._threads = threads
        path = folder / MODEL_FILE
        try:
            # Read here: the library reports a missing file as any other error.
            self._model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        except (OSError, RuntimeError) as exc:
            msg = f"{path}: no readable sentencepiece model: {exc}"
            raise InputError(msg) from exc
        pieces = [self._model.id_to_piece(i) for i in range(self._model.get_piece_size())]
        if len(pieces) != self.vocab_size:
            msg = f"{path}: has {len(pieces)} pieces, tokenizer.json says {self.vocab_size}"
            raise InputError(msg)
        self._digit_comma = _DigitComma(self._model, pieces)
        self._sentences = _SentenceTable(pieces, cased=not description.normalisation.lower)

    def encode(self, texts: list[str]) -> tuple[Ids, Ends]:
        """Encodes normalised texts.

        Returns:
            ids: (tokens,) of all texts, one after the other.
            ends: (texts,) index after each text's last token.
        """
        if not texts:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        arrays = self._model.encode(texts, return_type="numpy", num_threads=self._threads)
        ends = np.cumsum(np.fromiter(map(len, arrays), np.int64, len(arrays)))
        return self._digit_comma.split(np.concatenate(arrays), ends)

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """The text that ids stand for; control pieces stand for nothing."""
        text: str = self._model.decode(ids.tolist())
        return text

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

    def __init__(self, model: sentencepiece.SentencePieceProcessor, pieces: list[str]) -> None:
        parts = [np.array([i], np.int32) for i in range(len(pieces))]
        self._affected = np.zeros(len(pieces), bool)
        comma = model.piece_to_id(",")
        for i, piece in enumerate(pieces):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                inner = model.encode(piece[:-1].replace(_SPACE, ""), return_type=str)
                if piece[0] != _SPACE and inner[0].startswith(_SPACE):
                    inner = inner[1:] if inner[0] == _SPACE else [inner[0][1:], *inner[1:]]
                ids = [model.piece_to_id(part) for part in inner]
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

    def __init__(self, pieces: list[str], *, cased: bool) -> None:
        self._bits = np.zeros(len(pieces), np.uint8)
        for i, piece in enumerate(pieces):
            word = piece.removeprefix(_SPACE)
            closes = word == piece and bool(word) and _CLOSERS.issuperset(word)
            begins = word != piece and not (cased and word[:1].islower())
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
