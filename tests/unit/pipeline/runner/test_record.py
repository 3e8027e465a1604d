"""The record of a run: what it stood on, and no secret in it."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.errors import InfrastructureError, StoreError, UserError
from pipeline.runner.journal import record_key
from pipeline.runner.machine import checkouts, describe_machine, installed_packages
from pipeline.runner.record import (
    Request,
    RunRecord,
    make_record,
    new_run_id,
    read_record,
    write_record,
)
from pipeline.spec.load import load_text
from pipeline.storage import Store

TEXT = """
name: d
stages:
  a:
    uses: command
    with: {argv: [echo, "x ${env.TOKEN}"], env: {TOKEN: "${env.TOKEN}"}, outputs: {out: folder}}
"""


def _git(folder: Path, *command: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "dag.yaml").write_text(TEXT)
    _git(folder, "init", "-q")
    _git(folder, "add", ".")
    _git(folder, "commit", "-qm", "one")
    return folder


def _record(tree: Path, store: Store) -> RunRecord:
    request = Request(file=str(tree / "dag.yaml"), text=TEXT, sets=("a.b=1",))
    dag = load_text(
        TEXT,
        tree / "dag.yaml",
        profile=None,
        values=(),
        sets=(),
        environ={"TOKEN": "s3cret"},
    )
    return make_record(dag, store, request)


def test_record_read_gives_what_was_written(tree: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = _record(tree, store)
    write_record(store, record)
    assert read_record(store, record.run) == record
    assert record.packages["pydantic"]
    assert record.code[0].folder == str(tree)


def test_record_holds_no_value_of_the_environment(tree: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = _record(tree, store)
    write_record(store, record)
    assert b"s3cret" not in store.read(record_key(record.run))
    given = record.resolved["stages"]["a"]["with"]
    assert given["argv"] == ["echo", "x ${env.TOKEN}"]
    assert given["env"] == {"TOKEN": "${env.TOKEN}"}


def test_write_record_same_id_twice_is_refused(tree: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = _record(tree, store)
    write_record(store, record)
    with pytest.raises(InfrastructureError, match="exists already"):
        write_record(store, record)


def test_read_record_damaged_or_absent_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record_key("r"), b'{"run": 1}')
    with pytest.raises(StoreError, match=r"runs/r/run\.json: not a record"):
        read_record(store, "r")
    with pytest.raises(UserError, match="there is no run 'q'"):
        read_record(store, "q")


def test_new_run_id_sorts_by_time_and_differs() -> None:
    assert new_run_id(0).startswith("19700101-000000-")
    assert len({new_run_id(0) for _ in range(20)}) > 10
    within_a_second = [new_run_id(1e9 + n / 900) for n in range(900)]
    assert within_a_second == sorted(within_a_second)
    assert new_run_id(1e9 + 0.999) < new_run_id(1e9 + 1)


def test_checkouts_dirty_digest_follows_the_changes(tree: Path) -> None:
    (clean,) = checkouts([tree, tree], strict=True)
    assert clean.dirty == ""
    assert len(clean.commit) == 40
    (tree / "dag.yaml").write_text("changed")
    (changed,) = checkouts([tree], strict=False)
    (tree / "new.py").write_text("1")
    (first,) = checkouts([tree], strict=False)
    (tree / "new.py").write_text("2")
    (second,) = checkouts([tree], strict=False)
    assert len({"", changed.dirty, first.dirty, second.dirty}) == 4
    assert changed.commit == clean.commit


def test_checkouts_own_working_folder_is_not_a_change(tree: Path) -> None:
    (tree / ".pipeline" / "runs").mkdir(parents=True)
    (tree / ".pipeline" / "runs" / "x").write_text("")
    assert checkouts([tree], strict=True)[0].dirty == ""


def test_checkouts_strict_refuses_a_dirty_tree(tree: Path) -> None:
    (tree / "dag.yaml").write_text("changed")
    with pytest.raises(UserError, match="uncommitted changes; commit them"):
        checkouts([tree], strict=True)


def test_checkouts_strict_refuses_what_has_no_commit(tmp_path: Path) -> None:
    assert checkouts([tmp_path], strict=False) == ()
    with pytest.raises(UserError, match="not in a git work tree"):
        checkouts([tmp_path], strict=True)


def test_machine_is_described_without_blanks() -> None:
    fields = describe_machine().model_dump()
    assert fields["cpus"] >= 1
    assert all(fields[name] for name in ("host", "system", "python", "cpu", "memory_bytes"))


def test_installed_packages_agree_with_the_metadata() -> None:
    packages = installed_packages()
    assert packages["pydantic"] == version("pydantic")
    assert packages["typing-extensions"] == version("typing_extensions")
