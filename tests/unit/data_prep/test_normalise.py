"""Normalisation: what XLNet does to text, with Unicode tables that never change."""

import unicodedata

import pytest

from data_prep.config import Normalisation
from data_prep.normalise import Normaliser


def _xlnet(text: str) -> str:
    return Normaliser(Normalisation())(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  one\n\ttwo\u00a0three ", "one two three"),
        ("``quoted''", '"quoted"'),
        ("Caf\u00e9 na\u00efve", "Cafe naive"),
        ("Cafe\u0301", "Cafe"),
        ("\ufb01ne \uff21\uff11", "fine A1"),
        ("\u00b4x", "x"),
        ("a\u2009b", "a b"),
        ("plain", "plain"),
        (" \n ", ""),
    ],
)
def test_normalise_as_xlnet_gives_plain_text(text: str, expected: str) -> None:
    assert _xlnet(text) == expected


def test_normalise_keeping_accents_composes_across_the_run_of_a_letter() -> None:
    normalise = Normaliser(Normalisation(strip_accents=False))
    assert normalise("Cafe\u0301 \ufb01n") == "Caf\u00e9 fin"


def test_normalise_lower_makes_small_letters() -> None:
    assert Normaliser(Normalisation(lower=True))("ABC \u00c9") == "abc e"


def test_normalise_keeps_what_is_younger_than_its_tables() -> None:
    squared = "\U0001f130"  # compatibility form of A, from Unicode 6.0
    assert unicodedata.normalize("NFKD", squared) == "A"
    assert _xlnet(squared) == squared
