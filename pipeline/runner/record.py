"""run.json: what a run was asked to do and what it stood on, enough to resume or repeat it."""

import secrets
import string
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import pipeline
from pipeline.errors import InfrastructureError, StoreError, UserError
from pipeline.runner.journal import record_key
from pipeline.runner.machine import (
    Checkout,
    Machine,
    checkouts,
    describe_machine,
    installed_packages,
)
from pipeline.spec.dag import Dag
from pipeline.spec.settings import settings_of
from pipeline.storage import Store
from pipeline.storage.digests import canonical_json

_DIGITS = string.digits + string.ascii_lowercase
"""In the order they sort."""


class Request(BaseModel):
    """How the DAG was asked for; with the same request `load_dag` gives the same DAG again.

    Attributes:
        file: absolute path of the DAG file; relative Sources start at its folder.
        text: its content when the run began, which counts even if the file was edited since.
        values: absolute path and content of each `--values` file, in order.
        sets: `--set` as typed.
        selection: the CLI's selection of stages, as it spells it; replayed by `resume`.
        jobs, keep_going: see RunOptions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    text: str
    profile: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    sets: tuple[str, ...] = ()
    selection: dict[str, Any] = {}
    jobs: int | None = None
    keep_going: bool = False


class RunRecord(BaseModel):
    """Written once, before the first event.

    Attributes:
        run: the id; sorts by the time of the start.
        resolved: the DAG after profile, values and sets; a value that came from the environment
            stands as `${env.NAME}`.
        seeds: stage address -> seed.
        settings: stage address -> path -> (value as text, where it comes from), defaults too; see
            `spec.settings`. Recorded, for defaults may be others by the time someone looks.
        packages: distribution -> version, of the runner's environment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    dag: str
    started: float
    store: str
    request: Request
    resolved: dict[str, Any]
    seeds: dict[str, int]
    settings: dict[str, dict[str, tuple[str, str]]] = {}
    code: tuple[Checkout, ...]
    packages: dict[str, str]
    machine: Machine


def new_run_id(now: float | None = None) -> str:
    """UTC time and four characters: they sort by the moment too, and two runners do not collide."""
    now = time.time() if now is None else now
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    # The first two count the second's 1296 parts: runs of cached stages take less than a second.
    fraction = divmod(int(now % 1 * len(_DIGITS) ** 2), len(_DIGITS))
    tail = [_DIGITS[part] for part in fraction] + [secrets.choice(_DIGITS) for _ in range(2)]
    return f"{moment}-{''.join(tail)}"


def make_record(dag: Dag, store: Store, request: Request, *, strict: bool = False) -> RunRecord:
    """What run.json will hold.

    Args:
        dag: the DAG as read.
        store: where results go.
        request: how it was asked for.
        strict: refuse a work tree with uncommitted changes.

    Raises:
        UserError: `strict`, and the tree is dirty.
    """
    now = time.time()
    folders = [dag.file.parent, *(Path(p) for p in pipeline.__path__)]
    return RunRecord(
        run=new_run_id(now),
        dag=dag.name,
        started=now,
        store=store.url,
        request=request,
        resolved=dict(dag.resolved),
        seeds={address: stage.seed for address, stage in dag.stages.items()},
        settings={
            address: {path: (one.text, one.origin) for path, one in settings_of(stage).items()}
            for address, stage in dag.stages.items()
        },
        code=checkouts(folders, strict=strict),
        packages=installed_packages(),
        machine=describe_machine(),
    )


def write_record(store: Store, record: RunRecord) -> None:
    """Makes the run exist.

    Raises:
        InfrastructureError: a run of this id exists.
        StoreError: the store refused.
    """
    data = canonical_json(record.model_dump(mode="json"))
    if not store.create(record_key(record.run), data):
        msg = f"run {record.run} exists already; start again"
        raise InfrastructureError(msg)


def read_record(store: Store, run: str) -> RunRecord:
    """The record of a run.

    Raises:
        UserError: there is no such run.
        StoreError: it cannot be read.
    """
    try:
        return RunRecord.model_validate_json(store.read(record_key(run)))
    except KeyError:
        msg = f"there is no run {run!r} in this store; `pipeline list` shows those there are"
        raise UserError(msg) from None
    except ValidationError as exc:
        msg = f"{store.url}/{record_key(run)}: not a record this version understands: {exc}"
        raise StoreError(msg) from exc
