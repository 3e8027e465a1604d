"""The contract of a store, on every sort of store."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import s3fs

from pipeline.errors import StoreError, UserError
from pipeline.storage import Store
from pipeline.storage.failures import store_failure

BAD_KEYS = ["", "/etc/passwd", "a/../b", "..", ".", "a//b", "a/", "a\0b", "x" * 256, "\udcff"]


def test_write_then_read_gives_the_newest_content(store: Store) -> None:
    store.write("a/b", b"old")
    store.write("a/b", b"new", durable=False)
    assert store.read("a/b") == b"new"


def test_read_of_an_absent_key_is_a_key_error(store: Store) -> None:
    store.write("a/b", b"")
    for absent in ("a", "a/c", "a/b/c", "nothing"):
        with pytest.raises(KeyError):
            store.read(absent)


def test_create_of_an_existing_key_changes_nothing(store: Store) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_create_by_many_at_once_has_one_winner(store: Store) -> None:
    start = threading.Barrier(6)
    won: list[int] = []

    def attempt(number: int) -> None:
        start.wait()
        if store.create("race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read("race")] == [str(number).encode() for number in won]


def test_list_names_direct_children_sorted(store: Store) -> None:
    for key in ("x/b/1", "x/b/2", "x/a", "x/c", "y"):
        store.write(key, b"")
    assert store.list("x") == ["a", "b", "c"]
    assert store.list() == ["x", "y"]
    assert store.list("nothing") == []


def test_list_sees_what_was_written_after_the_last_list(store: Store) -> None:
    store.write("x/a", b"")
    store.list("x")
    Store(store.url).write("x/b", b"")
    assert store.list("x") == ["a", "b"]


def test_walk_gives_sizes_of_all_files_below(store: Store) -> None:
    store.write("x/a", b"1")
    store.write("x/b/c", b"22")
    store.write("xy", b"333")
    assert {name: info.size for name, info in store.walk("x").items()} == {"a": 1, "b/c": 2}
    assert set(store.walk()) == {"x/a", "x/b/c", "xy"}
    assert store.walk("nothing") == {}


def test_info_of_a_folder_is_none(store: Store) -> None:
    store.write("x/a", b"1")
    found = store.info("x/a")
    assert found is not None
    assert found.size == 1
    assert store.info("x") is None
    assert not store.exists("x/a/b")


def test_remove_of_an_absent_key_is_fine(store: Store) -> None:
    store.write("x/a", b"1")
    store.write("x/b/c", b"1")
    for _ in range(2):
        store.remove("x/a")
        store.remove_tree("x/b")
    assert store.walk() == {}


def test_touch_makes_a_file_young_and_keeps_it(store: Store) -> None:
    store.write("a", b"1")
    before = store.info("a")
    store.touch("a")
    after = store.info("a")
    assert before
    assert after
    assert after.modified >= before.modified
    assert store.read("a") == b"1"
    with pytest.raises(KeyError):
        store.touch("b")


def test_upload_then_download_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(bytes(range(256)) * 1000)
    store.upload(source, "deep/down/file")
    store.download("deep/down/file", target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(KeyError):
        store.download("nothing", target)


def test_copy_replaces_targets_and_keeps_sources(store: Store) -> None:
    store.write("a/1", b"1")
    store.write("a/2", b"2")
    store.write("b/1", b"old")
    store.copy([("a/1", "b/1"), ("a/2", "c/2")])
    assert [store.read(key) for key in ("a/1", "b/1", "c/2")] == [b"1", b"1", b"2"]
    with pytest.raises(KeyError):
        store.copy([("nothing", "d")])


def test_move_tree_moves_everything_to_a_free_name(store: Store) -> None:
    store.write("a/1", b"1")
    store.write("a/b/2", b"2")
    assert store.move_tree("a", "c/d")
    assert set(store.walk()) == {"c/d/1", "c/d/b/2"}
    with pytest.raises(KeyError):
        store.move_tree("a", "e")


def test_move_tree_to_a_name_with_content_changes_nothing(store: Store) -> None:
    store.write("a/1", b"1")
    store.write("b/2", b"2")
    assert not store.move_tree("a", "b")
    assert set(store.walk()) == {"a/1", "b/2"}


@pytest.mark.parametrize("key", BAD_KEYS)
def test_every_method_refuses_a_key_that_leaves_the_store(
    local_store: Store, tmp_path: Path, key: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: local_store.read(key),
        lambda: local_store.write(key, b""),
        lambda: local_store.create(key, b""),
        lambda: local_store.exists(key),
        lambda: local_store.remove(key),
        lambda: local_store.remove_tree(key),
        lambda: local_store.touch(key),
        lambda: local_store.upload(tmp_path, key),
        lambda: local_store.download(key, tmp_path / "x"),
        lambda: local_store.copy([("a", key)]),
        lambda: local_store.move_tree("a", key),
        lambda: local_store.list(key or ".."),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="key"):
            call()


def test_check_writable_leaves_nothing_behind(store: Store) -> None:
    store.check_writable()
    assert store.walk() == {}
    assert store.walk("tmp") == {}


def test_local_store_leaves_no_temporary_files(local_store: Store) -> None:
    local_store.write("a", b"1")
    local_store.create("b", b"1")
    local_store.create("b", b"1")
    local_store.write("c/d", b"1")
    local_store.remove_tree("c")
    assert local_store.list("tmp") == []


def test_local_store_opens_again_by_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("a folder/with #signs%")
    store.write("a", b"1")
    monkeypatch.chdir("/")
    assert Store(store.url).read("a") == b"1"
    assert store.local_path("a") == tmp_path / "a folder/with #signs%" / "a"


def test_local_path_of_an_object_store_is_none() -> None:
    assert Store("s3://bucket/prefix").local_path("a") is None


@pytest.mark.parametrize("url", ["ftp://me:hunter2@host/x", "abfs://box@host/x?sig=hunter2"])
def test_store_url_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UserError, match="must not carry credentials") as caught:
        Store(url)
    assert "hunter2" not in str(caught.value)


def test_store_error_hides_the_secrets_of_urls_in_its_cause() -> None:
    cause = OSError("GET https://me:hunter2@host/a?X-Amz-Signature=hunter2 failed")
    text = str(store_failure("s3://bucket", "read a", cause))
    assert "GET https://***@host/a?*** failed" in text
    assert "hunter2" not in text


def test_store_error_names_url_key_cause_and_fix(s3_bucket: str) -> None:
    store = Store(f"{s3_bucket}-that-is-not-there/x")
    with pytest.raises(StoreError) as caught:
        store.write("a/b", b"")
    text = str(caught.value)
    assert "s3://bucket-that-is-not-there/x" in text
    assert "cannot write a/b: no such bucket or folder" in text
    assert text.endswith("Make it first, or correct the URL.")


def test_store_error_of_an_unreachable_server_says_so(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(StoreError, match="cannot reach the server"):
            Store("s3://bucket/elsewhere").read("a")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_store_url_with_an_unknown_protocol_is_refused_with_a_guess() -> None:
    with pytest.raises(UserError, match="no file system is known as 's33'; did you mean s3"):
        Store("s33://bucket")


def test_store_without_its_package_says_what_to_install() -> None:
    with pytest.raises(StoreError, match="Install the extra"):
        Store("gs://bucket/x").read("a")
