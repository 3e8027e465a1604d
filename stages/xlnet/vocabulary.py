"""What XLNet needs to know of a TOKENIZER artifact: special ids, and which pieces begin a word."""

import json
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import InputError

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class _Special(BaseModel):
    cls: int = Field(ge=0)
    sep: int = Field(ge=0)
    pad: int = Field(ge=0)


class _Description(BaseModel):
    vocab_size: int = Field(gt=0)
    special: _Special


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's pieces as ids.

    Attributes:
        size: number of pieces.
        cls, sep, pad: ids of the special pieces.
        begins_word: (size,) bool, True for a piece that begins a word or is one: it starts with
            the space mark or "<", or is a single ASCII punctuation mark.
    """

    size: int
    cls: int
    sep: int
    pad: int
    begins_word: NDArray[np.bool_]


def read_vocabulary(folder: Path) -> Vocabulary:
    """Reads tokenizer.json and the pieces of tokenizer.model.

    Raises:
        InputError: a file is missing or damaged, or they do not belong together.
    """
    path = folder / "tokenizer.json"
    model_path = folder / "tokenizer.model"
    try:
        description = _Description.model_validate(json.loads(path.read_bytes()))
        model = sentencepiece.SentencePieceProcessor(model_proto=model_path.read_bytes())
    except (OSError, ValueError, ValidationError, RuntimeError) as exc:
        msg = f"{folder}: not a readable tokenizer: {exc}"
        raise InputError(msg) from exc
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    special = description.special
    if len(pieces) != description.vocab_size or max(special.cls, special.sep, special.pad) >= len(
        pieces
    ):
        msg = f"{path}: does not describe the {len(pieces)} pieces of {model_path.name}"
        raise InputError(msg)
    return Vocabulary(
        size=len(pieces),
        cls=special.cls,
        sep=special.sep,
        pad=special.pad,
        begins_word=np.array([_begins_word(piece) for piece in pieces]),
    )


def _begins_word(piece: str) -> bool:
    """Source: Yang et al. 2019, released code, data_utils.py `_is_start_piece`."""
    if piece.startswith((_SPACE, "<")):
        return True
    return len(piece) == 1 and piece in string.punctuation
