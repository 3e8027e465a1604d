"""Unicode normalisation that gives the same text on every Python; sentencepiece itself adds none."""

import re
import unicodedata
from functools import lru_cache
from typing import Self

from pydantic import ValidationError

from data_prep.config import Normalisation
from pipeline.errors import InputError
from pipeline.shards.tokenizer import DESCRIPTION_FILE, TokenizerDescription

UNICODE_VERSION = unicodedata.ucd_3_2_0.unidata_version
"""The tables that decide. A Python's own tables grow with every release; these never do."""

_RUN = re.compile(r"[^\x00-\x7f]+")
# A mark composes with the letter before it.
_RUN_AND_LETTER = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
_LONGEST_CACHED = 16


class Normaliser:
    """Applies a `Normalisation` to text."""

    def __init__(self, config: Normalisation) -> None:
        self.config = config
        self._pattern = _RUN if config.strip_accents else _RUN_AND_LETTER
        self._run = _without_marks if config.strip_accents else _composed
        self._cached_run = lru_cache(1 << 14)(self._run)

    def __call__(self, text: str) -> str:
        """The text as sentencepiece shall see it; "" when it holds nothing but white space."""
        if not text.isascii():
            text = self._pattern.sub(self._replacement, text)
        if "``" in text or "''" in text:
            text = text.replace("``", '"').replace("''", '"')
        if self.config.lower:
            text = text.lower()
        text = text.replace("\n", " ").strip(" ")
        # Of white space only the plain space is printable: nothing to collapse. 7x as fast.
        if text.isprintable() and "  " not in text:
            return text
        return " ".join(text.split())

    @classmethod
    def described(cls, description: TokenizerDescription) -> Self:
        """That of the text a tokenizer was trained on.

        Raises:
            InputError: it is none that we know, or its Unicode tables are not ours.
        """
        if description.unicode != UNICODE_VERSION:
            msg = (
                f"{DESCRIPTION_FILE}: made with Unicode {description.unicode} tables, "
                f"here are {UNICODE_VERSION}"
            )
            raise InputError(msg)
        try:
            return cls(Normalisation.model_validate(description.normalisation))
        except ValidationError as exc:
            msg = f"{DESCRIPTION_FILE}: no normalisation that we know: {exc}"
            raise InputError(msg) from exc

    def _replacement(self, match: re.Match[str]) -> str:
        run = match[0]
        return self._cached_run(run) if len(run) <= _LONGEST_CACHED else self._run(run)


def _without_marks(text: str) -> str:
    decomposed = unicodedata.ucd_3_2_0.normalize("NFKD", text)
    combining = unicodedata.ucd_3_2_0.combining
    return "".join(character for character in decomposed if not combining(character))


def _composed(text: str) -> str:
    return unicodedata.ucd_3_2_0.normalize("NFKC", text)
