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

_TABLES = unicodedata.ucd_3_2_0
_RUN = re.compile(r"[^\x00-\x7f]+")
# A mark composes with the letter before it.
_RUN_AND_LETTER = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
_ASCII_OR_NOT = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
_LONGEST_CACHED = 16


def is_small(character: str) -> bool:
    """Whether it is a small letter; no for those younger than the tables, and for ""."""
    return character.islower() and _is_known(character)


def is_digit(character: str) -> bool:
    """Whether it is a digit; no for those younger than the tables."""
    return character.isdigit() and _is_known(character)


class Normaliser:
    """Applies a `Normalisation` to text."""

    def __init__(self, config: Normalisation) -> None:
        self.config = config
        self._pattern = _RUN if config.strip_accents else _RUN_AND_LETTER
        self._run = _without_marks if config.strip_accents else _composed
        self._cached_run = lru_cache(1 << 14)(self._run)
        self._cached_small = lru_cache(1 << 14)(_small)

    def __call__(self, text: str) -> str:
        """The text as sentencepiece shall see it; "" when it holds nothing but white space."""
        if not text.isascii():
            text = self._pattern.sub(self._replacement, text)
        if "``" in text or "''" in text:
            text = text.replace("``", '"').replace("''", '"')
        if self.config.lower:
            text = text.lower() if text.isascii() else _ASCII_OR_NOT.sub(self._small, text)
        text = text.replace("\n", " ").strip(" ")
        # Of white space only the plain space is printable: nothing to collapse. 7x as fast, and
        # the same text where this Python holds a character for unprintable.
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

    def _small(self, match: re.Match[str]) -> str:
        run = match[0]
        if run.isascii():
            return run.lower()
        return self._cached_small(run) if len(run) <= _LONGEST_CACHED else _small(run)

    def _replacement(self, match: re.Match[str]) -> str:
        run = match[0]
        return self._cached_run(run) if len(run) <= _LONGEST_CACHED else self._run(run)


def _without_marks(text: str) -> str:
    decomposed = _TABLES.normalize("NFKD", text)
    return "".join(character for character in decomposed if not _TABLES.combining(character))


def _composed(text: str) -> str:
    return _TABLES.normalize("NFKC", text)


def _small(text: str) -> str:
    """Small letters, each by itself: of known letters Python's own tables say the same for ever."""
    return "".join(c.lower() if _is_known(c) else c for c in text)


def _is_known(character: str) -> bool:
    return _TABLES.category(character) != "Cn"
