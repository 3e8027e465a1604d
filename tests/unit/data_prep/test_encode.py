"""Encoding: special pieces, the digit-comma rule and the ends of sentences."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.config import Normalisation, TokenizerConfig
from data_prep.encode import TextEncoder
from data_prep.normalise import UNICODE_VERSION
from data_prep.pieces import SPECIAL_PIECES
from data_prep.tokenizer import train
from pipeline.errors import InputError
from pipeline.shards.tokenizer import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    Tokenizer,
    TokenizerDescription,
)

# Numbers with commas are frequent enough to become pieces that end in a digit and a comma.
SENTENCES = [f"In {year}, they sold 1,000, or {year}, of (them). Was it so?" for year in
             range(1900, 2000)] * 4  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("numbers")
    config = TokenizerConfig(vocab_size=61)
    (folder / MODEL_FILE).write_bytes(train(SENTENCES, config))
    description = TokenizerDescription(
        vocab_size=61,
        special=SPECIAL_PIECES,
        normalisation=Normalisation().model_dump(),
        unicode=UNICODE_VERSION,
        num_sentences=400,
    )
    (folder / DESCRIPTION_FILE).write_text(description.model_dump_json())
    return TextEncoder(folder)


def test_special_pieces_have_the_ids_of_xlnet(trained: Path) -> None:
    tokenizer = Tokenizer(trained)
    pieces = tokenizer.pieces[:17]
    assert list(pieces[:9]) == [
        "<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>",
    ]  # fmt: skip
    assert list(pieces[9:]) == [".", "(", ")", '"', "-", "\N{EN DASH}", "£", "€"]
    assert tokenizer.piece_id("<pad>") == tokenizer.special("pad") == SPECIAL_PIECES["pad"]


def test_control_pieces_are_not_found_in_text(trained: Path) -> None:
    ids, _ = TextEncoder(trained).encode(["<cls> <eod> <s>"])
    assert not set(ids.tolist()) & {1, 2, 3, 4, 5, 6, 7}


def test_piece_of_digit_and_comma_is_split_as_the_rule_says(encoder: TextEncoder) -> None:
    """Compared with the rule applied piece by piece, as the paper's code states it."""
    tokenizer = encoder.tokenizer
    text = SENTENCES[7]
    plain = tokenizer.split(text)
    assert any(len(p) > 1 and p[-1] == "," and p[-2].isdigit() for p in plain)
    expected: list[str] = []
    for piece in plain:
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            inner = tokenizer.split(piece[:-1].replace("▁", ""))
            if piece[0] != "▁" and inner[0][0] == "▁":
                inner = inner[1:] if len(inner[0]) == 1 else [inner[0][1:], *inner[1:]]
            expected += [*inner, ","]
        else:
            expected.append(piece)
    expected_ids = [tokenizer.piece_id(piece) for piece in expected]
    ids, ends = encoder.encode([text, text])
    assert ids.tolist() == expected_ids * 2
    assert ends.tolist() == [len(expected_ids), 2 * len(expected_ids)]


def test_empty_texts_have_ends_but_no_tokens(encoder: TextEncoder) -> None:
    ids, ends = encoder.encode(["", "In 1999", ""])
    assert ends.tolist() == [0, len(ids), len(ids)]
    assert encoder.encode([])[0].size == 0


@pytest.mark.parametrize(
    ("text", "last_pieces"),
    [
        ("In 1999. They sold.", ["."]),
        ("Was it? Was it so? They sold.", ["?", "?"]),
        ("They sold (In 1999.) Was it?", [")"]),
        ('They sold "1,000." Was it?', ['"']),
        ("They sold 1.000 or. so", []),
        ("They sold", []),
        ("", []),
    ],
)
def test_sentence_ends_where_the_next_word_is_no_small_letter(
    encoder: TextEncoder, text: str, last_pieces: list[str]
) -> None:
    ids, _ = encoder.encode([text])
    pieces = [encoder.tokenizer.pieces[ids[end - 1]] for end in encoder.sentence_ends(ids)]
    assert [piece[-1] for piece in pieces] == last_pieces


def test_encode_gives_the_same_ids_for_any_number_of_threads(trained: Path, corpus: Path) -> None:
    texts = [" ".join(path.read_text().split()) for path in sorted(corpus.rglob("*.txt"))]
    one, two = TextEncoder(trained, threads=1), TextEncoder(trained, threads=2)
    assert np.array_equal(one.encode(texts)[0], two.encode(texts)[0])


@pytest.mark.parametrize(
    ("name", "content"), [(MODEL_FILE, b"no model"), (DESCRIPTION_FILE, b"{}"), (MODEL_FILE, b"")]
)
def test_damaged_tokenizer_is_named(
    tmp_path: Path, trained: Path, name: str, content: bytes
) -> None:
    for file in (MODEL_FILE, DESCRIPTION_FILE):
        (tmp_path / file).write_bytes((trained / file).read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        TextEncoder(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"vocab_size": 200', '"vocab_size": 201', "its 200 pieces are not those"),
        ('"sep": 4', '"sep": 200', "its 200 pieces are not those"),
        ('"lower"', '"upper"', "no normalisation that we know"),
    ],
)
def test_tokenizer_whose_description_is_of_another_is_refused(
    tmp_path: Path, trained: Path, old: str, new: str, message: str
) -> None:
    text = (trained / DESCRIPTION_FILE).read_text()
    assert old in text
    (tmp_path / DESCRIPTION_FILE).write_text(text.replace(old, new))
    (tmp_path / MODEL_FILE).write_bytes((trained / MODEL_FILE).read_bytes())
    with pytest.raises(InputError, match=message):
        TextEncoder(tmp_path)


def test_tokenizer_of_other_unicode_tables_is_refused(tmp_path: Path, trained: Path) -> None:
    text = (trained / DESCRIPTION_FILE).read_text().replace("3.2.0", "99.0.0")
    (tmp_path / DESCRIPTION_FILE).write_text(text)
    (tmp_path / MODEL_FILE).write_bytes((trained / MODEL_FILE).read_bytes())
    with pytest.raises(InputError, match=r"Unicode 99\.0\.0 tables"):
        TextEncoder(tmp_path)
