"""Documents from files of each format; what is bad is named by file and offset."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from data_prep.config import DocumentsConfig
from data_prep.corpus import Labelling, corpus_files, read_spans
from data_prep.documents import CHUNK_CHARACTERS, MAX_RECORD_BYTES
from data_prep.streams import Span
from pipeline.errors import DataError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def _read(path: Path, labelling: Labelling | None = None, **with_: Any) -> list[tuple[str, Any]]:
    """(text, label) of whole documents, their pieces joined again."""
    config = DocumentsConfig(source=str(path), **with_)
    spans = [Span(file) for file in corpus_files(str(path))]
    documents, text = [], ""
    for _, piece in read_spans(config, spans, labelling or Labelling()):
        assert len(piece.text) <= 2 * CHUNK_CHARACTERS
        text += piece.text
        if piece.ends:
            documents.append((text, piece.label))
            text = ""
    assert text == ""
    return documents


def _file(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_plain_file_is_one_document(tmp_path: Path) -> None:
    assert _read(_file(tmp_path, "a.txt", "one\n\ntwo\n")) == [("one\n\ntwo\n", None)]


def test_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    assert _read(_file(tmp_path, "a.txt", bom + b"one")) == [("one", None)]
    assert _read(_file(tmp_path, "a.csv", bom + b"text\none")) == [("one", None)]


@pytest.mark.parametrize("text", ["word " * 600_000, "\N{SNOWMAN}" * 1_500_000, "a" * 2_500_000])
def test_long_file_comes_in_pieces_that_join_to_it(tmp_path: Path, text: str) -> None:
    assert _read(_file(tmp_path, "a.txt", text)) == [(text, None)]


def test_blank_lines_keep_documents_apart(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.txt", "\n\none\ntwo\n \t\n\nthree\r\n\r\nfour")
    texts = [text for text, _ in _read(path, document="blank_line")]
    assert texts == ["one\ntwo", "three", "four"]


def test_long_document_between_blank_lines_stays_one(tmp_path: Path) -> None:
    long = "line of words\n" * 200_000
    path = _file(tmp_path, "a.txt", f"{long}\nnext\n")
    assert [text for text, _ in _read(path, document="blank_line")] == [long.rstrip(), "next"]


def test_folder_gives_the_label(tmp_path: Path) -> None:
    (tmp_path / "pos").mkdir()
    _file(tmp_path / "pos", "0_9.txt", "fine")
    assert _read(tmp_path, Labelling(from_folder=True)) == [("fine", "pos")]


def test_jsonl_gives_text_and_label(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.jsonl", '{"text": "one", "y": 1}\n\n{"y": "b", "text": "two\\n"}')
    assert _read(path, Labelling(column="y")) == [("one", "1"), ("two\n", "b")]


def test_separated_values_may_hold_line_ends_and_delimiters(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.csv", 'text,y\r\n"a, ""b""\nc",1\r\n\r\nd,2\r\n')
    assert _read(path, Labelling(column="y")) == [('a, "b"\nc', "1"), ("d", "2")]
    path = _file(tmp_path, "a.tsv", "y\ttext\n1\ta, b\n")
    assert _read(path, Labelling(column="y")) == [("a, b", "1")]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_file_reads_as_the_plain_one(tmp_path: Path, suffix: str) -> None:
    lines = "".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(2000)).encode()
    path = _file(tmp_path, f"a.jsonl{suffix}", COMPRESS[suffix](lines))
    assert [text for text, _ in _read(path)] == [f"document {i}" for i in range(2000)]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"\0" + data[1:]])
def test_damaged_compression_names_the_file(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    data = COMPRESS[suffix](bytes(range(97, 123)) * 10_000)
    path = _file(tmp_path, f"a.txt{suffix}", damage(data))
    with pytest.raises(DataError, match=rf"a\.txt{suffix}: offset \d+: damaged or cut off"):
        _read(path)


def test_two_zstd_frames_are_both_read(tmp_path: Path) -> None:
    compress = COMPRESS[".zst"]
    path = _file(tmp_path, "a.txt.zst", compress(b"one ") + compress(b"two"))
    assert _read(path) == [("one two", None)]


@pytest.mark.parametrize(
    ("name", "content", "offset"),
    [
        ("a.txt", b"good \xff bad", 5),
        ("a.txt", b"w " * 600_000 + b"\xc3", 1_200_000),
        ("a.jsonl", b'{"text": "one"}\n{"text": "\xe9"}\n', 26),
        ("a.csv", b"text\nfine\n\xe9\n", 10),
    ],
)
def test_bytes_that_are_not_utf8_are_named_by_offset(
    tmp_path: Path, name: str, content: bytes, offset: int
) -> None:
    with pytest.raises(DataError, match=rf"{name}: offset {offset}: byte 0x\w\w is not UTF-8"):
        _read(_file(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": \n',
            r"offset 24: not a JSON object a line: Expecting",
        ),
        ("a.jsonl", '{"text": "a"}\n[1]\n', r"offset 14: a list, not a JSON object"),
        ("a.jsonl", '{"body": "a"}\n', r"offset 0: no field 'text'; it has body\. .*text_column"),
        ("a.jsonl", '{"text": 3}\n', r"offset 0: field 'text' is a int, not text"),
        ("a.jsonl", '{"text": "\\ud800"}\n', r"offset 0: field 'text' holds half a surrogate"),
        ("a.jsonl", "[" * 100_000, r"offset 0: .*(nested too deeply|not a JSON object)"),
        ("a.csv", "text,y\none,1\ntwo\n", r"line 3, offset 13: 1 fields, but the header has 2"),
        ("a.csv", 'text\n"one\n', r"line 2, offset 5: .*end of data"),
        ("a.csv", "body\none\n", r"line 2, offset 5: no field 'text'"),
    ],
)
def test_bad_record_is_named_by_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=rf"{name}: {message}"):
        _read(_file(tmp_path, name, content))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_endless_line_is_refused_before_it_fills_the_memory(tmp_path: Path, name: str) -> None:
    path = _file(tmp_path, name, b"text\n" + b"x" * (MAX_RECORD_BYTES + 2))
    if name.endswith("jsonl"):
        path.write_bytes(path.read_bytes()[5:])
    with pytest.raises(DataError, match=r"a line over 16 MiB"):
        _read(path)


def test_short_documents_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _file(tmp_path, "a.txt", "one\n\nlong enough\n\ntwo\n")
    texts = [text for text, _ in _read(path, document="blank_line", min_characters=6)]
    assert texts == ["long enough"]
    assert [record.getMessage() for record in caplog.records] == [
        f"left out 2 documents under 6 characters, from {path} on"
    ]


def test_source_without_files_is_an_empty_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\*\.txt: no files there"):
        corpus_files(str(tmp_path / "*.txt"))
