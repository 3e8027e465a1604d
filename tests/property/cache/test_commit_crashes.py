"""An attempt on an object store that dies before any of its operations: nothing or everything."""

import itertools
import os
import uuid
from pathlib import Path

import pytest

from pipeline.cache import Artifacts, Leases, Results
from pipeline.cache.inventory import verify_artifacts
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, make_artifact, make_result
from tests.stores import before_each_operation

PARTS = ({"a.bin": b"a" * 1000, "deep/b.bin": b"b"}, {"c.bin": b"c"})


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def attempt(store: Store, folder: Path, name: str) -> dict[str, str]:
    assert Leases(store).acquire(PLAN_KEY, name)
    artifacts = Artifacts(store, cache_folder=folder)
    digests = make_artifact(artifacts, PARTS, attempt_id=name, lease_token=name)
    make_result(store, digests)
    artifacts.discard(PLAN_KEY, name)
    Leases(store).release(PLAN_KEY, name)
    return digests


def attempt_killed_at(store: Store, folder: Path, number: int) -> bool:
    """False when the attempt had fewer operations."""
    counter = itertools.count(1)

    def die(_: str) -> None:
        if next(counter) == number:
            raise Killed

    try:
        attempt(before_each_operation(store, die), folder, "first")
    except Killed:
        return True
    return False


def test_attempt_on_an_object_store_killed_anywhere_leaves_nothing_or_everything(
    tmp_path: Path,
) -> None:
    expected = attempt(Store(f"memory://{uuid.uuid4().hex}"), tmp_path, "only")
    for number in itertools.count(1):
        store = Store(f"memory://{uuid.uuid4().hex}")
        was_killed = attempt_killed_at(store, tmp_path, number)
        assert {verdict.problem for verdict in verify_artifacts(store)} <= {None}
        for key in store.list("results"):
            assert Results(store).lookup(key.removesuffix(".json"))
        # The killed one was this process, which lives: give its lease back in its stead.
        Leases(store).release(PLAN_KEY, "first")
        assert attempt(store, tmp_path, "second") == expected
        found = Results(store).lookup(PLAN_KEY)
        assert found
        assert found.artifacts == expected
        if not was_killed:
            break
    assert number > 20


def test_local_commit_is_durable_before_it_is_visible(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that goes down keeps what was fsynced: files, manifest, folders, then the name."""
    happened: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def noting_fsync(descriptor: int) -> None:
        happened.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def noting_rename(source: str | Path, target: str | Path) -> None:
        happened.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "rename", noting_rename)
    digest = make_artifact(Artifacts(local_store), PARTS)["out"]
    root = local_store.local_path()
    assert root
    appears = happened.index(("rename", str(root / "artifacts" / digest)))
    synced = [path for what, path in happened[:appears] if what == "fsync"]
    staged = str(root / "staging")
    for name in ("a.bin", "deep/b.bin", "c.bin"):
        assert any(path.startswith(staged) and path.endswith(name) for path in synced)
    for folder in ("/joined/out/files", "/joined/out/files/deep", "/joined/out"):
        assert any(path.endswith(folder) for path in synced)
    assert any("manifest.json" in path for path in synced)
    assert ("fsync", str(root / "artifacts")) in happened[appears:]
