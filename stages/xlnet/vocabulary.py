"""What XLNet needs to know of a TOKENIZER artifact: special ids, and which pieces begin a word."""

import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.tokenizer import SPACE, Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's pieces as ids.

    Attributes:
        size: number of pieces.
        tokenizer: sha256 of tokenizer.model.
        cls, sep, pad: ids of the special pieces.
        begins_word: (size,) bool, True for a piece that begins a word or is one: it starts with
            the space mark or "<", or is a single ASCII punctuation mark.
    """

    size: int
    tokenizer: str
    cls: int
    sep: int
    pad: int
    begins_word: NDArray[np.bool_]


def read_vocabulary(folder: Path) -> Vocabulary:
    """That of the tokenizer in a folder.

    Raises:
        InputError: a file is missing or damaged, or they do not belong together.
    """
    tokenizer = Tokenizer(folder)
    return Vocabulary(
        size=tokenizer.vocab_size,
        tokenizer=tokenizer.sha256,
        cls=tokenizer.special("cls"),
        sep=tokenizer.special("sep"),
        pad=tokenizer.special("pad"),
        begins_word=np.array([_begins_word(piece) for piece in tokenizer.pieces]),
    )


def _begins_word(piece: str) -> bool:
    """Source: Yang et al. 2019, released code, data_utils.py `_is_start_piece`."""
    if piece.startswith((SPACE, "<")):
        return True
    return len(piece) == 1 and piece in string.punctuation
