"""A local store on disks that fail: nothing half-written is left, and the error says what to do."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.storage import Store
from tests.mounts import FULL_DISK_BYTES, read_only, small_disk

LARGE = b"x" * (2 * FULL_DISK_BYTES)


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """A limit on file size, which every user can set: writing fails in the middle."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_write_over_the_file_size_limit_keeps_the_old_content(
    local_store: Store, file_size_limit: None
) -> None:
    local_store.write("a", b"old")
    with pytest.raises(StoreError, match="file too large"):
        local_store.write("a", LARGE)
    with pytest.raises(StoreError, match="file too large"):
        local_store.create("b", LARGE)
    assert local_store.read("a") == b"old"
    assert not local_store.exists("b")
    assert local_store.list("tmp") == []


def test_write_to_a_full_disk_keeps_the_old_content(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = Store(disk / "store")
        store.write("a", b"old")
        with pytest.raises(StoreError, match=r"cannot write a: no space left .*cache gc"):
            store.write("a", LARGE)
        (tmp_path / "large").write_bytes(LARGE)
        with pytest.raises(StoreError, match="no space left"):
            store.upload(tmp_path / "large", "b")
        assert store.read("a") == b"old"
        assert store.list() == ["a"]
        assert store.list("tmp") == []


def test_read_only_store_can_be_read_and_says_what_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write("a", b"1")
    with read_only(tmp_path / "store"):
        with pytest.raises(StoreError, match=r"store file://.*/store: cannot write a: read-only"):
            store.write("a", b"2")
        with pytest.raises(StoreError, match=r"EROFS\). Remount it writable, or name another"):
            store.check_writable()
        assert store.read("a") == b"1"


def test_store_below_a_file_says_what_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="a file stands where a folder must be"):
        store.check_writable()


def test_store_where_nothing_can_be_made_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="store file:///proc/1/store: cannot create"):
        Store("/proc/1/store").check_writable()
