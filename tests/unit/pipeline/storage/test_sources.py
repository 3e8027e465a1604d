"""Sources: the same names for a folder, a glob and a URL, in one order."""

from pathlib import Path

import pytest

from pipeline.storage.sources import open_source, source_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.txt", "a/1.txt", "a/10.txt", "top.txt", ".hidden", ".git/x.txt", "a/n.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def _names(source: str) -> list[str]:
    return [file.name for file in source_files(source)]


def test_folder_means_every_visible_file_below_sorted_by_name(folder: Path) -> None:
    assert _names(str(folder)) == ["a/1.txt", "a/10.txt", "a/n.md", "b/2.txt", "top.txt"]


def test_glob_names_are_relative_to_its_fixed_part(folder: Path) -> None:
    assert _names(f"{folder}/*/*.txt") == ["a/1.txt", "a/10.txt", "b/2.txt"]
    assert _names(f"{folder}/a/1*.txt") == ["1.txt", "10.txt"]
    assert _names(f"{folder}/**/*.txt") == ["a/1.txt", "a/10.txt", "b/2.txt", "top.txt"]


def test_single_file_is_named_by_its_last_part(folder: Path) -> None:
    (file,) = source_files(str(folder / "a/1.txt"))
    assert (file.name, file.path, file.size) == ("1.txt", str(folder / "a/1.txt"), len("a/1.txt"))


@pytest.mark.parametrize("tail", ["", "/a", "/*/*.txt", "/**/*.txt", "/a/1.txt"])
def test_url_gives_the_names_that_the_local_path_gives(folder: Path, tail: str) -> None:
    assert _names(f"file://{folder}{tail}") == _names(f"{folder}{tail}")


def test_url_opens_to_the_same_bytes(folder: Path) -> None:
    (file,) = source_files(f"file://{folder}/a/1.txt")
    assert file.is_remote
    with open_source(file.path) as stream:
        assert stream.read() == b"a/1.txt"


@pytest.mark.parametrize("tail", ["nowhere", "*.jsonl"])
def test_source_without_files_is_empty(folder: Path, tail: str) -> None:
    assert source_files(str(folder / tail)) == []
    assert source_files(f"file://{folder}/{tail}") == []
