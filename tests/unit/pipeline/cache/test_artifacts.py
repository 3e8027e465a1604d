"""Artifacts, from staging to opening, on every sort of store."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.cache import Artifacts, LeaseLost, Leases
from pipeline.cache.manifest import FileEntry, Manifest
from pipeline.errors import InputError, OutputError, StoreError
from pipeline.spec.ports import CHECKPOINT, FOLDER, SCORES, SHARDS, Port, PortKind
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, PORTS, content, make_artifact, stage_parts, write_files

ONE = [{"a.txt": b"alpha", "deep/b.bin": b"\0" * 1000}]
THREE = [{"a.txt": b"alpha"}, {}, {"deep/b.bin": b"\0" * 1000}]


@pytest.fixture
def artifacts(store: Store, tmp_path: Path) -> Artifacts:
    return Artifacts(store, cache_folder=tmp_path / "cache")


def test_commit_of_one_process_gives_its_files(artifacts: Artifacts) -> None:
    digest = make_artifact(artifacts, ONE)["out"]
    assert content(artifacts.open(digest)) == ONE[0]
    assert artifacts.manifest(digest).port == FOLDER


def test_commit_joins_the_files_of_all_processes(artifacts: Artifacts) -> None:
    digests = make_artifact(artifacts, THREE)
    assert content(artifacts.open(digests["out"])) == ONE[0]
    assert digests == make_artifact(artifacts, ONE, attempt_id="attempt-2")


def test_digest_depends_on_type_names_and_content_alone() -> None:
    entry = FileEntry(size=1, sha256="0" * 64)
    base = Manifest(kind=PortKind.FOLDER, files={"a": entry, "b": entry})
    assert base.digest == base.model_copy(update={"meta": {"made": "today"}}).digest
    others: list[dict[str, Any]] = [
        {"kind": PortKind.SCORES},
        {"schema_name": "xlnet"},
        {"files": {"a": entry}},
        {"files": {"a": entry, "c": entry}},
        {"files": {"a": entry, "b": FileEntry(size=2, sha256="0" * 64)}},
        {"files": {"a": entry, "b": FileEntry(size=1, sha256="1" * 64)}},
    ]
    digests = {base.model_copy(update=other).digest for other in others}
    assert len(digests | {base.digest}) == len(others) + 1


def test_commit_of_several_ports_gives_an_artifact_each(artifacts: Artifacts) -> None:
    ports = {"checkpoint": CHECKPOINT("xlnet"), "scores": SCORES}
    digests = make_artifact(artifacts, [{"f": b"1"}], ports=ports)
    assert digests["checkpoint"] != digests["scores"]
    assert artifacts.manifest(digests["checkpoint"]).port == CHECKPOINT("xlnet")


def test_commit_twice_gives_the_same_digests(artifacts: Artifacts) -> None:
    digests = make_artifact(artifacts, THREE)
    again = artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="", num_parts=3)
    assert again == digests
    assert content(artifacts.open(digests["out"])) == ONE[0]


def test_commit_of_known_content_keeps_the_first_manifest(artifacts: Artifacts) -> None:
    for attempt in ("attempt-1", "attempt-2"):
        stage_parts(artifacts, ONE, attempt_id=attempt)
        artifacts.commit(PLAN_KEY, attempt, PORTS, lease_token="", meta={"made by": attempt})
    digest = make_artifact(artifacts, ONE, attempt_id="attempt-3")["out"]
    assert artifacts.manifest(digest).meta == {"made by": "attempt-1"}


def test_discard_leaves_nothing_but_the_artifact(
    artifacts: Artifacts, store: Store, tmp_path: Path
) -> None:
    digest = make_artifact(artifacts, THREE)["out"]
    artifacts.discard(PLAN_KEY, "attempt-1")
    top = f"artifacts/{digest}"
    expected = {f"{top}/manifest.json", f"{top}/files/a.txt", f"{top}/files/deep/b.bin"}
    assert set(store.walk()) == expected
    assert not list(tmp_path.glob("cache/staging/*/attempt-1"))


def test_commit_refuses_a_name_that_two_processes_wrote(artifacts: Artifacts) -> None:
    with pytest.raises(OutputError, match="port out: processes 0 and 2 both wrote 'a'"):
        make_artifact(artifacts, [{"a": b"1"}, {"b": b"1"}, {"a": b"1"}])


def test_commit_refuses_a_file_that_is_anothers_folder(artifacts: Artifacts, store: Store) -> None:
    with pytest.raises(OutputError, match="process 0 wrote 'a' as a file, process 1 as a folder"):
        make_artifact(artifacts, [{"a": b"1"}, {"a/b": b"1"}])
    assert store.walk("artifacts") == {}


def test_commit_of_an_empty_port_is_refused_unless_optional(artifacts: Artifacts) -> None:
    ports = {"out": FOLDER, "more": Port(PortKind.FOLDER, optional=True)}
    write_files(artifacts.staging(PLAN_KEY, "attempt-1", "out"), {"a": b"1"})
    artifacts.write_part(PLAN_KEY, "attempt-1", ports)
    assert set(artifacts.commit(PLAN_KEY, "attempt-1", ports, lease_token="")) == {"out"}
    with pytest.raises(OutputError, match="output port out: the stage wrote no file"):
        make_artifact(artifacts, [{}], attempt_id="attempt-2")


def test_commit_without_a_part_of_every_process_is_refused(artifacts: Artifacts) -> None:
    stage_parts(artifacts, [{"a": b"1"}])
    with pytest.raises(StoreError, match=r"parts/1.json is missing: process 1 did not finish"):
        artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="", num_parts=2)


def test_commit_without_the_lease_makes_nothing_visible(artifacts: Artifacts, store: Store) -> None:
    leases = Leases(store)
    assert leases.acquire(PLAN_KEY, "other")
    with pytest.raises(LeaseLost, match="attempt-1 no longer holds the lease"):
        make_artifact(artifacts, ONE, lease_token="mine")
    assert store.walk("artifacts") == {}
    leases.release(PLAN_KEY, "other")
    assert leases.acquire(PLAN_KEY, "mine")
    assert make_artifact(artifacts, ONE, attempt_id="attempt-2", lease_token="mine")


def test_write_part_refuses_a_link(artifacts: Artifacts) -> None:
    folder = artifacts.staging(PLAN_KEY, "attempt-1", "out")
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(OutputError, match=r"link: is a link\. Write a plain file"):
        artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)


def test_write_part_refuses_a_link_in_place_of_the_folder(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    folder = artifacts.staging(PLAN_KEY, "attempt-1", "out")
    foreign = tmp_path / "foreign"
    write_files(foreign, {"theirs": b"1"})
    mode = (foreign / "theirs").stat().st_mode
    folder.rmdir()
    folder.symlink_to(foreign)
    with pytest.raises(OutputError, match="is no folder any more"):
        artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)
    assert (foreign / "theirs").stat().st_mode == mode


def test_write_part_refuses_a_pipe(artifacts: Artifacts) -> None:
    os.mkfifo(artifacts.staging(PLAN_KEY, "attempt-1", "out") / "pipe")
    with pytest.raises(OutputError, match="pipe: is a special file"):
        artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)


def test_write_part_refuses_a_name_no_store_holds(artifacts: Artifacts) -> None:
    folder = artifacts.staging(PLAN_KEY, "attempt-1", "out")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("")
    with pytest.raises(OutputError, match="not valid text"):
        artifacts.write_part(PLAN_KEY, "attempt-1", PORTS)


def test_committed_files_are_read_only_and_empty_folders_gone(local_store: Store) -> None:
    artifacts = Artifacts(local_store)
    (artifacts.staging(PLAN_KEY, "attempt-1", "out") / "empty" / "deeper").mkdir(parents=True)
    folder = artifacts.open(make_artifact(artifacts, ONE)["out"])
    assert (folder / "a.txt").stat().st_mode & 0o222 == 0
    assert not (folder / "empty").exists()


def test_manifest_of_an_unknown_artifact_says_what_to_do(artifacts: Artifacts) -> None:
    with pytest.raises(InputError, match=r"has no artifact f+\. Run the stage"):
        artifacts.open("f" * 64)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b'{"kind": "folder", "files": {"../../x": {"size": 1, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"kind": "folder", "files": {}}',
        b'{"format": 2, "kind": "folder", "files": {}}',
    ],
)
def test_damaged_manifest_is_an_input_error(store: Store, damage: bytes) -> None:
    digest = "e" * 64
    store.write(f"artifacts/{digest}/manifest.json", damage)
    with pytest.raises(InputError, match=f"artifact {digest}: its manifest "):
        Artifacts(store).manifest(digest)


def test_open_of_changed_content_names_the_file(store: Store, tmp_path: Path) -> None:
    artifacts = Artifacts(store, cache_folder=tmp_path / "cache")
    digest = make_artifact(artifacts, ONE)["out"]
    store.write(f"artifacts/{digest}/files/a.txt", b"ALPHA")
    with pytest.raises(InputError, match=r"a\.txt: content has digest .* its manifest says"):
        artifacts.open(digest)
    store.write(f"artifacts/{digest}/files/a.txt", b"alph")
    with pytest.raises(InputError, match=r"a\.txt: has 4 bytes, its manifest says 5"):
        artifacts.open(digest)
    store.remove(f"artifacts/{digest}/files/a.txt")
    with pytest.raises(InputError, match=r"a\.txt: is missing"):
        artifacts.open(digest)


def test_commit_replaces_a_damaged_artifact(artifacts: Artifacts, store: Store) -> None:
    digest = make_artifact(artifacts, ONE)["out"]
    store.remove(f"artifacts/{digest}/files/a.txt")
    make_artifact(artifacts, ONE, attempt_id="attempt-2")
    assert content(artifacts.open(digest)) == ONE[0]
    store.write(f"artifacts/{digest}/manifest.json", b"damaged")
    make_artifact(artifacts, THREE, attempt_id="attempt-3")
    assert content(artifacts.open(digest)) == ONE[0]


def test_commit_replaces_an_artifact_damaged_at_the_same_size(
    artifacts: Artifacts, store: Store
) -> None:
    digest = make_artifact(artifacts, ONE)["out"]
    for attempt, parts in (("attempt-2", ONE), ("attempt-3", ONE)):
        store.write(f"artifacts/{digest}/files/a.txt", b"ALPHA")
        make_artifact(artifacts, parts, attempt_id=attempt)
        assert store.read(f"artifacts/{digest}/files/a.txt") == ONE[0]["a.txt"]


def test_repeated_commit_reads_nothing_again(local_store: Store) -> None:
    artifacts = Artifacts(local_store)
    digest = make_artifact(artifacts, ONE)["out"]
    local_store.write(f"artifacts/{digest}/files/a.txt", b"ALPHA")
    again = artifacts.commit(PLAN_KEY, "attempt-1", PORTS, lease_token="", is_repetition=True)
    assert again == {"out": digest}


def test_object_store_without_cache_folder_says_so() -> None:
    with pytest.raises(ValueError, match="needs a cache_folder"):
        Artifacts(Store("s3://bucket/x")).staging(PLAN_KEY, "attempt-1", "out")


def test_port_schema_reaches_the_manifest_file(local_store: Store) -> None:
    digest = make_artifact(Artifacts(local_store), ONE, ports={"out": SHARDS("tokens")})["out"]
    data = local_store.read(f"artifacts/{digest}/manifest.json")
    assert b'"kind":"shards"' in data
    assert b'"schema":"tokens"' in data
