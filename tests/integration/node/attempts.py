"""Attempts of the toy kind on a real local executor, and what to ask about processes."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from pipeline.executors.base import AttemptEnd
from pipeline.executors.local.executor import LocalExecutor
from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.job import Job
from pipeline.storage import Store

TOYS = Path(__file__).with_name("toys.py")


@dataclass(frozen=True)
class Attempt:
    """One submitted attempt and where its things are."""

    job: Job
    executor: LocalExecutor

    @property
    def folder(self) -> AttemptFolder:
        return AttemptFolder(Path(self.job.folder))

    @property
    def state(self) -> Path:
        path = Store(self.job.store).local_path(f"state/{self.job.state_key}")
        assert path is not None
        return path

    def parts(self) -> list[str]:
        return Store(self.job.store).list(
            f"staging/{self.job.plan_key}/{self.job.attempt_id}/parts"
        )

    def artifacts(self) -> list[Path]:
        path = Store(self.job.store).local_path("artifacts")
        assert path is not None
        return sorted(path.glob("*")) if path.exists() else []

    def end(self, timeout_seconds: float = 30) -> AttemptEnd:
        (end,) = self.executor.wait(timeout_seconds)
        assert end.attempt_id == self.job.attempt_id
        return end

    def stop(self, *, now: bool = False) -> None:
        self.executor.stop(self.job.attempt_id, now=now)

    def pids(self, rank: int = 0) -> dict[str, Any]:
        return pids_of(self.job, rank)


def pids_of(job: Job, rank: int = 0) -> dict[str, Any]:
    """What rank `rank` reports once it is at work."""
    path = Store(job.store).local_path(f"state/{job.state_key}/pids-{rank}.json")
    assert path is not None
    wait_for(path.exists)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def wait_for(look: Callable[[], Any], timeout_seconds: float = 30) -> Any:
    """The first true value; fails when there is none in time."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.01)
    pytest.fail("waited in vain")


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that nobody has reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class MakeJob(Protocol):
    """Writes a job of the toy kind into a folder of its own."""

    def __call__(self, config: dict[str, Any], **fields: Any) -> Job: ...


class Submit(Protocol):
    """Starts an attempt of the toy kind; `fields` are those of its Job."""

    def __call__(
        self, do: str, *, by: int | None = None, otherwise: str = "write", **fields: Any
    ) -> Attempt: ...
