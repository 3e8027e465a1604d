"""The TOKENIZER artifact: tokenizer.json, and tokenizer.model by which text and ids are exchanged.

Training one is data_prep's; nothing else needs to know that the model is sentencepiece's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError, InputError
from pipeline.storage.digests import sha256_bytes

MODEL_FILE = "tokenizer.model"
DESCRIPTION_FILE = "tokenizer.json"
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What a piece has in the place of a space."""


class TokenizerDescription(BaseModel):
    """tokenizer.json.

    Attributes:
        format: version of this layout.
        vocab_size: number of pieces.
        special: name -> id of the special pieces.
        normalisation: what happens to text before the model sees it; data_prep's to read.
        unicode: version of the Unicode tables used for it.
        num_sentences: how many sentences the model was trained on; 0 where nobody told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    vocab_size: Annotated[int, Field(gt=0)]
    special: dict[str, Annotated[int, Field(ge=0)]]
    normalisation: dict[str, bool]
    unicode: str
    num_sentences: int


class Tokenizer:
    """A TOKENIZER artifact, loaded.

    Attributes:
        description: tokenizer.json.
        sha256: of tokenizer.model; shards and checkpoints say by it whose ids theirs are.
        pieces: by id.

    Raises:
        InputError: a file is missing or damaged, or they do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self.description = _read_description(folder)
        path = folder / MODEL_FILE
        self._model, self.sha256 = _read_model(path)
        self.pieces = _pieces(self._model)
        size = len(self.pieces)
        special = self.description.special
        if size != self.vocab_size or any(place >= size for place in special.values()):
            msg = f"{path}: its {size} pieces are not those that {DESCRIPTION_FILE} describes"
            raise InputError(msg)

    @staticmethod
    def pieces_of(model: Path) -> tuple[str, ...]:
        """The pieces of a sentencepiece model that nothing describes yet, by id.

        Raises:
            InputError: it is missing or damaged.
        """
        return _pieces(_read_model(model)[0])

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return self.description.vocab_size

    def special(self, name: str) -> int:
        """The id of a special piece, such as "sep".

        Raises:
            InputError: the tokenizer has no such piece.
        """
        special = self.description.special
        if name not in special:
            msg = f"{DESCRIPTION_FILE}: no special piece {name!r}; it has {', '.join(special)}"
            raise InputError(msg)
        return special[name]

    def encode(self, texts: Sequence[str], *, threads: int = 1) -> list[NDArray[np.int32]]:
        """(tokens,) ids of each normalised text."""
        ids: list[NDArray[np.int32]] = self._model.encode(
            list(texts), return_type="numpy", num_threads=threads
        )
        return ids

    def split(self, text: str) -> list[str]:
        """The pieces of a normalised text."""
        pieces: list[str] = self._model.encode(text, return_type=str)
        return pieces

    def piece_id(self, piece: str) -> int:
        """The id of a piece; that of the unknown piece where there is no such."""
        place: int = self._model.piece_to_id(piece)
        return place

    def decode(self, ids: NDArray[np.integer[Any]] | Sequence[int]) -> str:
        """The text that ids stand for; control pieces stand for nothing."""
        text: str = self._model.decode(np.asarray(ids).tolist())
        return text


def require_same_tokenizer(where: Path, made_with: str, given: str) -> None:
    """Refuses data or weights of another tokenizer: the same ids would be other pieces.

    Args:
        where: the shards or the checkpoint.
        made_with: sha256 of the tokenizer.model whose ids they are.
        given: sha256 of the tokenizer.model at hand.

    Raises:
        ConfigError: they differ; names both.
    """
    if made_with != given:
        msg = (
            f"{where}: made with another tokenizer: sha256 of its {MODEL_FILE} is {made_with}, "
            f"that of the one given is {given}; connect the tokenizer it was made with"
        )
        raise ConfigError(msg)


def _read_model(path: Path) -> tuple[Any, str]:
    """Sentencepiece's processor, and the sha256 of the file."""
    try:
        # Read here: the library reports a missing file as any other error.
        model = path.read_bytes()
        return sentencepiece.SentencePieceProcessor(model_proto=model), sha256_bytes(model)
    except (OSError, RuntimeError) as exc:
        msg = f"{path}: no readable sentencepiece model: {exc}"
        raise InputError(msg) from exc


def _pieces(model: Any) -> tuple[str, ...]:
    return tuple(model.id_to_piece(i) for i in range(model.get_piece_size()))


def _read_description(folder: Path) -> TokenizerDescription:
    path = folder / DESCRIPTION_FILE
    try:
        return TokenizerDescription.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        msg = f"{path}: no readable description of a tokenizer: {exc}"
        raise InputError(msg) from exc
