"""Units of work: together they are the corpus, each document once."""

from pathlib import Path

import pytest

from data_prep.config import DocumentsConfig
from data_prep.corpus import Labelling, Unit, corpus_files, cut_units, read_spans


def _units(path: Path, unit_bytes: int, **with_: str) -> tuple[DocumentsConfig, list[Unit]]:
    config = DocumentsConfig.model_validate({"source": str(path), **with_})
    return config, cut_units(config, corpus_files(str(path)), "train", unit_bytes)


def _texts(config: DocumentsConfig, units: list[Unit]) -> list[str]:
    return [d.text for unit in units for _, d in read_spans(config, unit.spans, Labelling())]


@pytest.mark.parametrize("unit_bytes", [1, 17, 100, 5000])
@pytest.mark.parametrize(
    ("name", "with_"), [("a.jsonl", {}), ("a.txt", {"document": "blank_line"})]
)
def test_large_file_is_cut_between_documents(
    tmp_path: Path, unit_bytes: int, name: str, with_: dict[str, str]
) -> None:
    lines = [f"number {i} " + "x" * (i % 23) for i in range(40)]
    if name.endswith("jsonl"):
        content = "".join(f'{{"text": "{line}"}}\n' for line in lines)
        expected = lines
    else:
        content = "\n\n \n".join(line + "\nmore" for line in lines)
        expected = [line + "\nmore" for line in lines]
    (tmp_path / name).write_text(content)
    config, units = _units(tmp_path / name, unit_bytes, **with_)
    assert _texts(config, units) == expected
    longest = max(map(len, content.split("\n\n"))) + 10
    for unit in units[:-1]:
        size = sum((span.stop or 0) - span.start for span in unit.spans)
        assert unit_bytes <= size <= unit_bytes + 2 * longest


def test_small_files_are_taken_together(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"{i}.txt").write_text("x" * 10)
    _, units = _units(tmp_path, 25)
    assert [len(unit.spans) for unit in units] == [3, 3, 3, 1]


def test_empty_files_at_the_end_make_no_unit_of_their_own(tmp_path: Path) -> None:
    for name, content in (("a", "x" * 30), ("b", ""), ("c", "")):
        (tmp_path / f"{name}.txt").write_text(content)
    _, units = _units(tmp_path, 25)
    assert [len(unit.spans) for unit in units] == [3]


def test_blank_line_across_two_blocks_of_a_scan_is_found(tmp_path: Path) -> None:
    block = 1 << 20
    first = "a" * (block + 9)
    (tmp_path / "a.txt").write_text(f"{first}\n\nlast")
    config, units = _units(tmp_path / "a.txt", 10, document="blank_line")
    assert len(units) == 2
    assert _texts(config, units[1:]) == ["last"]
