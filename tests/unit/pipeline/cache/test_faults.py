"""Commits on disks that fail: a clear error, no half artifact, and the next attempt succeeds."""

from pathlib import Path

import pytest

from pipeline.cache import Artifacts, Leases, Results
from pipeline.cache.state import open_state
from pipeline.errors import StoreError
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, PORTS, content, make_artifact, make_result, write_files
from tests.mounts import FULL_DISK_BYTES, read_only, small_disk

FILES = {"a.txt": b"alpha", "deep/b.bin": b"b" * 1000}


def test_commit_to_a_read_only_store_fails_clearly_and_can_be_repeated(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    artifacts = Artifacts(store)
    write_files(artifacts.staging(PLAN_KEY, "attempt-1", "out"), FILES)
    artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)
    with read_only(tmp_path / "store"):
        with pytest.raises(StoreError, match="read-only file system"):
            artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="")
        with pytest.raises(StoreError, match="read-only file system"):
            artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)
        with pytest.raises(StoreError, match=r"cannot stage in .*read-only file system"):
            artifacts.staging(PLAN_KEY, "attempt-2", "out")
        with pytest.raises(StoreError, match="read-only file system"):
            Leases(store).acquire(PLAN_KEY, "mine")
        with pytest.raises(StoreError, match="read-only file system"):
            make_result(store, {})
    assert store.list("artifacts") == []
    digest = artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="")["out"]
    assert content(artifacts.open(digest)) == FILES


def test_commit_to_a_full_disk_fails_clearly_and_can_be_repeated(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = Store(disk / "store")
        artifacts = Artifacts(store)
        write_files(artifacts.staging(PLAN_KEY, "attempt-1", "out"), FILES)
        artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * FULL_DISK_BYTES)
        with pytest.raises(StoreError, match="no space left"):
            artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="")
        with pytest.raises(StoreError, match="no space left"):
            make_result(store, {})
        assert store.list("artifacts") == []
        assert Results(store).lookup(PLAN_KEY) is None
        filler.unlink()
        digest = artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="")["out"]
        assert content(artifacts.open(digest)) == FILES


def test_download_to_a_full_disk_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    store = Store("memory://full-disk")
    files = {"large": b"x" * 2 * FULL_DISK_BYTES}
    digest = make_artifact(Artifacts(store, cache_folder=tmp_path / "first"), [files])["out"]
    with small_disk(tmp_path / "disk") as disk:
        artifacts = Artifacts(store, cache_folder=disk / "cache")
        with pytest.raises(StoreError, match="no space left"):
            artifacts.open(digest)
        assert list(disk.rglob("large")) == []
    assert content(Artifacts(store, cache_folder=tmp_path / "second").open(digest)) == files


def test_result_in_a_read_only_store_can_be_found_and_opened(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digests = make_artifact(Artifacts(store), [FILES])
    make_result(store, digests)
    with read_only(tmp_path / "store"):
        assert Results(store).lookup(PLAN_KEY)
        assert content(Artifacts(store).open(digests["out"])) == FILES


def test_publish_on_a_read_only_store_is_a_store_error(tmp_path: Path) -> None:
    state = open_state(Store(tmp_path / "store"), PLAN_KEY, attempt_id="1")
    write_files(state.path, {"step-1/a": b"1"})
    with read_only(tmp_path / "store"), pytest.raises(StoreError, match="read-only"):
        state.remove("step-1")
    with read_only(tmp_path / "store"), pytest.raises(StoreError, match="read-only"):
        _ = open_state(Store(tmp_path / "store"), "f" * 64, attempt_id="1").path
    assert content(state.path) == {"step-1/a": b"1"}
