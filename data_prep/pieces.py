"""The special pieces of a tokenizer, and what tokenizer.json says beside tokenizer.model."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.config import Normalisation
from data_prep.normalise import UNICODE_VERSION
from pipeline.errors import InputError

MODEL_FILE = "tokenizer.model"
DESCRIPTION_FILE = "tokenizer.json"

SPECIAL_PIECES = {
    "unk": 0,
    "bos": 1,
    "eos": 2,
    "cls": 3,
    "sep": 4,
    "pad": 5,
    "mask": 6,
    "eod": 7,
    "eop": 8,
}
"""Name -> id, as in the released XLNet models (whose unk, bos and eos are <unk>, <s> and </s>)."""

CONTROL_PIECES = ("<cls>", "<sep>", "<pad>", "<mask>", "<eod>")
"""Never found in text; they follow unk, bos and eos."""

USER_PIECES = ("<eop>", ".", "(", ")", '"', "-", "\N{EN DASH}", "£", "€")
"""Always a piece of their own where text holds them; they follow the control pieces."""


class TokenizerDescription(BaseModel):
    """tokenizer.json.

    Attributes:
        format: version of this layout.
        vocab_size: number of pieces.
        special: name -> id of the special pieces.
        normalisation: what happens to text before the model sees it.
        unicode: version of the Unicode tables used for it.
        num_sentences: how many sentences the model was trained on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    vocab_size: Annotated[int, Field(gt=0)]
    special: dict[str, int]
    normalisation: Normalisation
    unicode: str = UNICODE_VERSION
    num_sentences: int


def read_description(folder: Path) -> TokenizerDescription:
    """Reads tokenizer.json of a TOKENIZER artifact.

    Raises:
        InputError: it is missing or damaged, or its Unicode tables are not ours.
    """
    path = folder / DESCRIPTION_FILE
    try:
        description = TokenizerDescription.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        msg = f"{path}: no readable description of a tokenizer: {exc}"
        raise InputError(msg) from exc
    if description.unicode != UNICODE_VERSION:
        msg = f"{path}: made with Unicode {description.unicode} tables, here are {UNICODE_VERSION}"
        raise InputError(msg)
    return description
