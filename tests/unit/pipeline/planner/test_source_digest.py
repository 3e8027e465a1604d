"""The digest of raw input: names and content, remembered, never wrong."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import StoreError, UserError
from pipeline.planner.memo import Memo
from pipeline.planner.source_digest import source_digest

LONG_AGO = time.time() - 1000


@pytest.fixture
def memo(tmp_path: Path) -> Iterator[Memo]:
    memo = Memo(tmp_path / "memo.db")
    yield memo
    memo.close()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    (folder / "sub").mkdir(parents=True)
    for name, text in {"a.txt": "one", "b.txt": "two", "sub/c.txt": "three"}.items():
        _write(folder / name, text)
    return folder


def _write(path: Path, text: str) -> None:
    """Long ago: what changed a moment ago is never remembered."""
    path.write_text(text)
    os.utime(path, (LONG_AGO, LONG_AGO))


def test_digest_of_a_copy_is_the_same(raw: Path, memo: Memo, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "copy")
    assert source_digest(str(raw), memo) == source_digest(str(tmp_path / "copy"), memo)


def test_digest_of_a_folder_as_glob_is_the_same(raw: Path, memo: Memo) -> None:
    assert source_digest(str(raw), memo) == source_digest(f"{raw}/**", memo)
    assert source_digest(str(raw), memo) != source_digest(f"{raw}/*.txt", memo)


def test_digest_changes_with_content_name_and_number_of_files(raw: Path, memo: Memo) -> None:
    found = [source_digest(str(raw), memo)]
    _write(raw / "a.txt", "ONE")
    os.utime(raw / "a.txt", (LONG_AGO + 1, LONG_AGO + 1))
    found.append(source_digest(str(raw), memo))
    (raw / "a.txt").rename(raw / "d.txt")
    found.append(source_digest(str(raw), memo))
    _write(raw / "e.txt", "")
    found.append(source_digest(str(raw), memo))
    (raw / "b.txt").unlink()
    found.append(source_digest(str(raw), memo))
    assert len(set(found)) == 5


def test_digest_is_not_fooled_by_content_moved_from_file_to_file(raw: Path, memo: Memo) -> None:
    before = source_digest(str(raw), memo)
    (raw / "a.txt").rename(raw / "x")
    (raw / "b.txt").rename(raw / "a.txt")
    (raw / "x").rename(raw / "b.txt")
    assert source_digest(str(raw), memo) != before


def test_unchanged_files_are_not_read_again(raw: Path, memo: Memo) -> None:
    before = source_digest(str(raw), memo)
    # Other content behind the same size, time and inode: who reads it would see.
    with (raw / "a.txt").open("r+") as file:
        file.write("ONE")
    os.utime(raw / "a.txt", (LONG_AGO, LONG_AGO))
    assert source_digest(str(raw), memo) == before


def test_one_new_file_leaves_the_others_unread(raw: Path, memo: Memo) -> None:
    source_digest(str(raw), memo)
    expected = None
    for content in ("one", "ONE"):
        with (raw / "a.txt").open("r+") as file:
            file.write(content)
        os.utime(raw / "a.txt", (LONG_AGO, LONG_AGO))
        _write(raw / "new.txt", "new")
        found = source_digest(str(raw), memo)
        assert expected in (None, found)
        expected = found
        (raw / "new.txt").unlink()


def test_file_written_a_moment_ago_is_read_again(raw: Path, memo: Memo) -> None:
    now = time.time()
    os.utime(raw / "a.txt", (now, now))
    before = source_digest(str(raw), memo)
    with (raw / "a.txt").open("r+") as file:
        file.write("ONE")
    os.utime(raw / "a.txt", (now, now))
    assert source_digest(str(raw), memo) != before


def test_nonsense_in_the_memo_is_not_believed(raw: Path, memo: Memo, tmp_path: Path) -> None:
    before = source_digest(str(raw), memo)
    memo._connection.execute("UPDATE memo SET value = 'nonsense'")  # type: ignore[union-attr]  # open
    assert source_digest(str(raw), memo) == before


def test_name_that_is_no_text_has_a_digest(raw: Path, memo: Memo) -> None:
    before = source_digest(str(raw), memo)
    Path(os.fsdecode(os.fsencode(raw) + b"/\xff.txt")).write_text("x")
    assert source_digest(str(raw), memo) != before


def test_url_has_the_digest_of_the_same_files_on_disk(raw: Path, memo: Memo) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    fs = fsspec.filesystem("memory")
    for file in raw.rglob("*.txt"):
        fs.pipe_file(f"{url}/{file.relative_to(raw)}", file.read_bytes())
    assert source_digest(url, memo) == source_digest(str(raw), memo)
    before = source_digest(url, memo)
    fs.pipe_file(f"{url}/a.txt", b"ONE")
    assert source_digest(url, memo) != before


def test_object_store_is_read_once(
    s3_bucket: str, memo: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3_bucket}/{uuid.uuid4().hex}"
    fs, _ = fsspec.core.url_to_fs(url, use_listings_cache=False)
    fs.pipe_file(f"{url}/a.txt", b"one")
    before = source_digest(url, memo)
    monkeypatch.setattr(type(fs), "_open", None)  # whoever reads fails
    assert source_digest(url, memo) == before
    monkeypatch.undo()
    fs.pipe_file(f"{url}/a.txt", b"two")
    assert source_digest(url, memo) != before


def test_file_that_cannot_be_read_is_an_error_that_names_it(memo: Memo, raw: Path) -> None:
    with pytest.raises(StoreError, match=r"source nosuch://bucket/x: .*Protocol not known"):
        source_digest("nosuch://bucket/x", memo)


def test_source_digest_of_nothing_is_refused(tmp_path: Path, memo: Memo) -> None:
    with pytest.raises(UserError, match="there is no file"):
        source_digest(str(tmp_path / "absent" / "*.txt"), memo)
