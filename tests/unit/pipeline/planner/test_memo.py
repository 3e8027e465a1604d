"""The memo: what it remembers, and that nothing done to its file does harm."""

import sqlite3
from pathlib import Path

import pytest

from pipeline.planner.memo import Memo, is_settled

SECOND = 1_000_000_000


def test_get_returns_values_whose_stamp_is_the_same(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "new" / "memo.db")
    memo.put([("a", "1", "x"), ("b", "1", "y")])
    assert memo.get({"a": "1", "b": "2", "c": "1"}) == {"a": "x"}
    memo.put([("a", "2", "z")])
    memo.close()
    again = Memo(tmp_path / "new" / "memo.db")
    assert again.get({"a": "2"}) == {"a": "z"}
    again.close()


def test_get_of_more_names_than_one_query_takes_finds_all(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.db")
    names = {f"n{number}": str(number) for number in range(1203)}
    memo.put([(name, stamp, "v") for name, stamp in names.items()])
    assert len(memo.get(names)) == 1203
    memo.close()


def test_name_that_is_no_text_is_remembered(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.db")
    memo.put([("file:/x/\udcff", "1", "v")])
    assert memo.get({"file:/x/\udcff": "1"}) == {"file:/x/\udcff": "v"}
    memo.close()


@pytest.mark.parametrize("content", [b"", b"not a table" * 100, b"SQLite format 3\0" + b"\0" * 500])
def test_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "memo.db").write_bytes(content)
    memo = Memo(tmp_path / "memo.db")
    assert memo.get({"a": "1"}) == {}
    memo.put([("a", "1", "x")])
    assert memo.get({"a": "1"}) == {"a": "x"}
    memo.close()


def test_file_cut_in_the_middle_costs_only_what_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "memo.db"
    memo = Memo(path)
    names = {f"name {number}": "1" for number in range(5000)}
    memo.put([(name, "1", "v" * 50) for name in names])
    memo.close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * 1000)
    memo = Memo(path)
    assert memo.get(names).items() <= dict.fromkeys(names, "v" * 50).items()
    memo.close()
    memo = Memo(path)
    memo.put([("name 1", "2", "w")])
    assert memo.get({"name 1": "2"}) == {"name 1": "w"}
    memo.close()


def test_locked_file_is_done_without(tmp_path: Path) -> None:
    path = tmp_path / "memo.db"
    Memo(path).close()
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    memo = Memo(path)
    memo.put([("a", "1", "x")])
    assert memo.get({"a": "1"}) == {}
    memo.close()
    other.rollback()
    other.close()
    assert path.exists()


def test_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memo = Memo(tmp_path / "file" / "memo.db")
    memo.put([("a", "1", "x")])
    assert memo.get({"a": "1"}) == {}
    memo.close()


def test_is_settled_only_after_two_seconds() -> None:
    assert not is_settled(10 * SECOND, 12 * SECOND)
    assert is_settled(10 * SECOND, 12 * SECOND + 1)
    assert not is_settled(13 * SECOND, 12 * SECOND)
