"""Windows cover everything; alignment finds every answer; beams keep to the rules."""

from pathlib import Path

import numpy as np
import pytest

from stages.xlnet.tasks.answers import Window, cut_windows, has_most_context
from stages.xlnet.tasks.inputs import Encoder, pack, pair_windows
from stages.xlnet.tasks.squad import align
from tests.xlnet.corpus import vocabulary


@pytest.fixture(scope="module")
def encoder(tokenizer_folder: Path) -> Encoder:
    return Encoder(tokenizer_folder)


@pytest.mark.parametrize(
    ("len_a", "len_b"), [(5, 4), (40, 4), (4, 40), (33, 37), (20, 1), (100, 100), (0, 30)]
)
def test_windows_of_a_pair_cover_both_texts_within_the_room(len_a: int, len_b: int) -> None:
    a, b = np.arange(len_a), np.arange(100, 100 + len_b)
    windows = pair_windows(a, b, 20)
    seen_a, seen_b = set(), set()
    for part_a, part_b in windows:
        assert part_b is not None
        assert len(part_a) + len(part_b) <= 20
        seen_a.update(part_a.tolist())
        seen_b.update(part_b.tolist())
    assert seen_a == set(a.tolist())
    assert seen_b == set(b.tolist())


def test_windows_keep_a_short_partner_whole() -> None:
    for _, part in pair_windows(np.arange(100), np.arange(4), 20):
        assert part is not None
        assert part.tolist() == [0, 1, 2, 3]


def test_pack_ends_with_sep_and_cls_behind_padding() -> None:
    pieces = vocabulary()
    batch = pack([(np.array([10, 11]), np.array([12])), (np.array([13]), None)], pieces)
    assert batch["tokens"].tolist() == [
        [5, 5, 10, 11, 4, 12, 4, 3],
        [5, 5, 5, 5, 5, 13, 4, 3],
    ]
    assert batch["segments"].tolist() == [[4, 4, 0, 0, 0, 1, 1, 2], [4] * 5 + [0, 0, 2]]


TEXTS = (
    "Ka lopainas stemo (en 1,066) por.",
    "Caf\u00e9 \u2013 na\u00efve \ufb01x! ``So''  he said;\n\ttwo \u2603 lines\u2026",
    "",
    "  spaces  ",
)


@pytest.mark.parametrize("text", TEXTS)
def test_alignment_word_by_word_gives_the_ids_of_the_whole(encoder: Encoder, text: str) -> None:
    (whole,) = encoder.encode([text])
    assert align(encoder, text).ids.tolist() == whole.tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_alignment_finds_every_span_of_words(encoder: Encoder, text: str) -> None:
    """The text of the pieces holds the span; it is no more than the words that the span touches."""
    passage = align(encoder, text)
    for begin in range(len(text)):
        for end in range(begin + 1, len(text) + 1):
            span = text[begin:end]
            if span != span.strip():
                continue
            found = passage.text_of(*passage.pieces_of((begin, end)))
            assert span in found
            assert len(found.split()) <= len(span.split()) + 1


def test_alignment_cuts_inside_a_word(encoder: Encoder) -> None:
    passage = align(encoder, "(lon).")
    found = passage.text_of(*passage.pieces_of((1, 4)))
    assert found == "lon"


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 37])
def test_windows_of_a_passage_cover_it_with_a_stride(length: int) -> None:
    spans = cut_windows(length, 10, 4)
    covered = {place for begin, end in spans for place in range(begin, end)}
    assert covered == set(range(length))
    assert all(end - begin <= 10 for begin, end in spans)
    assert [begin for begin, _ in spans] == [4 * i for i in range(len(spans))]


def test_every_piece_has_most_context_in_exactly_one_window() -> None:
    windows = [Window(0, begin, end) for begin, end in cut_windows(37, 10, 4)]
    for place in range(37):
        best = [n for n in range(len(windows)) if has_most_context(windows, n, place)]
        assert len(best) == 1
        assert windows[best[0]].begin <= place < windows[best[0]].end
