"""Where a command finds its store, its working folder and its run."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StoreError, UserError
from pipeline.runner.journal import list_runs, load_run
from pipeline.storage import Store
from pipeline.storage.failures import cause_and_fix
from pipeline.storage.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.runner.state import RunState
    from pipeline.spec.dag import Dag

WORKDIR = Path(".pipeline")
"""In the working folder: attempts and logs of local runs, and the default store."""
LATEST = "latest"
"""What a command line may say for the newest run."""
_STORE_NOTE = "last-store"
_DETACHED_NOTE = "detached.json"


def workdir() -> Path:
    """The absolute working folder of this machine's runs."""
    return WORKDIR.absolute()


def open_store(url: str | None, dag: Dag | None = None) -> Store:
    """The store a command line names, else the DAG's, else `.pipeline` here.

    A command that is given no DAG looks where the last run that was started here went.
    """
    known = _last_store() if dag is None else dag.store
    return Store(url or known or workdir())


def remember_store(store: Store) -> None:
    """Notes where the run goes that is started here: `status` and `resume` need not be told."""
    try:
        if store.url == Store(workdir()).url:
            (workdir() / _STORE_NOTE).unlink(missing_ok=True)
        else:
            replace_file(workdir() / _STORE_NOTE, f"{store.url}\n".encode(), durable=False)
    except OSError as exc:
        cause, fix = cause_and_fix(exc)
        msg = f"cannot write {workdir()}: {cause}. {fix}"
        raise StoreError(msg) from exc


def _last_store() -> str | None:
    try:
        return (workdir() / _STORE_NOTE).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def remember_detached(note: dict[str, str]) -> None:
    """Notes the runner that was put into a cluster: its `job`, `namespace` and `store`."""
    workdir().mkdir(parents=True, exist_ok=True)
    replace_file(workdir() / _DETACHED_NOTE, json.dumps(note).encode(), durable=False)


def last_detached() -> dict[str, str]:
    """What `remember_detached` noted last; empty when there is none."""
    try:
        found = json.loads((workdir() / _DETACHED_NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _where_it_runs(store: Store) -> str:
    """How to ask a runner in the cluster for a run that this machine may not see."""
    note = last_detached()
    if "store" not in note or note["store"] != store.url:
        return ""
    return (
        f". The runner in the cluster has it: `kubectl -n {note['namespace']} exec job/{note['job']} "
        "-- pipeline status` (or logs -f, cancel)"
    )


def find_run(store: Store, run: str | None) -> str:
    """The full id of a run.

    Args:
        store: where runs are.
        run: an id, the unique start or end of one; None or "latest" for the newest.

    Raises:
        UserError: there is none, or more than one.
    """
    runs = list_runs(store)
    if run in (None, LATEST):
        if not runs:
            there = _where_it_runs(store)
            msg = f"no run in {store.url}" + (
                there or ". Start one with `pipeline run DAG.YAML`, or name --store"
            )
            raise UserError(msg)
        return runs[-1]
    found = [one for one in runs if one == run] or [
        one for one in runs if run and (one.startswith(run) or one.endswith(run))
    ]
    if len(found) != 1:
        what = "is not a run" if not found else f"fits {len(found)} runs: {', '.join(found[-5:])}"
        msg = f"{run!r} {what} in {store.url}; `pipeline list` shows those there are"
        raise UserError(msg)
    return found[0]


def find_state(store: Store, run: str | None) -> RunState:
    """The state of a run named as in `find_run`."""
    return load_run(store, find_run(store, run))


@contextmanager
def until_interrupted() -> Iterator[None]:
    """For a block that only watches: Ctrl-C ends it quietly, for nothing was stopped."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print()
    finally:
        signal.signal(signal.SIGINT, before)
