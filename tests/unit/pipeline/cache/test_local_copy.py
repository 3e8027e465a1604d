"""Local copies: verified once a run and machine, fetched anew when they went bad."""

import os
from pathlib import Path

import pytest

from pipeline.cache import Artifacts
from pipeline.errors import InputError
from pipeline.storage import Store
from tests.attempts import content, make_artifact
from tests.stores import before_each_operation

FILES = {"a": b"alpha", "deep/b": b"b" * 100}


def damage_unseen(path: Path) -> None:
    """Changes content and keeps size and times, as a bad disk does."""
    found = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"!" * found.st_size)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_open_verifies_once_in_a_process(local_store: Store) -> None:
    artifacts = Artifacts(local_store)
    digest = make_artifact(artifacts, [FILES])["out"]
    folder = artifacts.open(digest)
    damage_unseen(folder / "a")
    assert artifacts.open(digest) == folder
    with pytest.raises(InputError, match=f"artifact {digest}: .*/a: content has digest"):
        Artifacts(local_store).open(digest)


def test_memo_spares_other_processes_the_reading(local_store: Store, tmp_path: Path) -> None:
    digest = make_artifact(Artifacts(local_store), [FILES])["out"]
    folder = Artifacts(local_store, memo_folder=tmp_path / "run-1").open(digest)
    damage_unseen(folder / "a")
    assert Artifacts(local_store, memo_folder=tmp_path / "run-1").open(digest) == folder
    with pytest.raises(InputError, match="content has digest"):
        Artifacts(local_store, memo_folder=tmp_path / "run-2").open(digest)


def test_memo_does_not_cover_a_file_that_was_written_since(
    local_store: Store, tmp_path: Path
) -> None:
    digest = make_artifact(Artifacts(local_store), [FILES])["out"]
    folder = Artifacts(local_store, memo_folder=tmp_path).open(digest)
    (folder / "a").unlink()
    (folder / "a").write_bytes(b"ALPHA")
    with pytest.raises(InputError, match="content has digest"):
        Artifacts(local_store, memo_folder=tmp_path).open(digest)
    (folder / "a").unlink()
    with pytest.raises(InputError, match="a: is missing"):
        Artifacts(local_store, memo_folder=tmp_path).open(digest)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_bad_local_copy_is_fetched_again(tmp_path: Path, damage: str) -> None:
    store = Store(f"memory://{damage}")
    digest = make_artifact(Artifacts(store, cache_folder=tmp_path), [FILES])["out"]
    folder = Artifacts(store, cache_folder=tmp_path).open(digest)
    if damage == "changed":
        damage_unseen(folder / "deep" / "b")
    else:
        (folder / "a").unlink()
    assert content(Artifacts(store, cache_folder=tmp_path).open(digest)) == FILES


def test_good_local_copy_is_not_fetched_again(tmp_path: Path) -> None:
    store = Store("memory://good-copy")
    digest = make_artifact(Artifacts(store, cache_folder=tmp_path), [FILES])["out"]
    Artifacts(store, cache_folder=tmp_path).open(digest)
    seen: list[str] = []
    watched = before_each_operation(store, seen.append)
    Artifacts(watched, cache_folder=tmp_path).open(digest)
    assert seen == ["read"]
