"""Normalisation: what XLNet does to text, with Unicode tables that never change."""

import unicodedata

import pytest

from data_prep.config import Normalisation
from data_prep.normalise import Normaliser, is_digit, is_small


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


def test_normalise_lower_keeps_what_is_younger_than_its_tables() -> None:
    younger = "\ua722"  # a capital, from Unicode 5.1
    assert younger.lower() != younger
    assert Normaliser(Normalisation(lower=True))(f"A{younger}B") == f"a{younger}b"


def test_normalise_lower_does_not_look_at_a_letter_s_neighbours() -> None:
    """Whether a sigma ends a word depends on tables of what a word consists of."""
    normalise = Normaliser(Normalisation(lower=True, strip_accents=False))
    assert normalise("\u039f\u03a3 \u0130I") == "\u03bf\u03c3 i\u0307i"


def test_white_space_is_what_it_is_on_every_python() -> None:
    """`str.split` goes by the running Python's tables; this fails on one where they differ."""
    spaces = [c for c in range(0x110000) if chr(c).isspace()]
    assert spaces == [
        *range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
        0x202F, 0x205F, 0x3000,
    ]  # fmt: skip


def test_letters_and_digits_younger_than_the_tables_are_neither() -> None:
    assert [is_small(c) for c in ("a", "A", "\ua723", "1", "")] == [True, *[False] * 4]
    assert [is_digit(c) for c in ("1", "\u0663", "\U00011066", "a")] == [True, True, False, False]
    assert "\ua723".islower()
    assert "\U00011066".isdigit()


def test_normalise_keeps_what_is_younger_than_its_tables() -> None:
    squared = "\U0001f130"  # compatibility form of A, from Unicode 6.0
    assert unicodedata.normalize("NFKD", squared) == "A"
    assert _xlnet(squared) == squared
