"""The folder of one attempt: who writes which file, and the records of how processes ended."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

from pipeline.storage.files import replace_file

SHARE_VARIABLE = "PIPELINE_SHARE"
"""Holds `share_name` in the environment of all that it starts: whose an orphan is."""

_TAIL_LINES = 20
_TAIL_BYTES = 16 * 1024
_Record = TypeVar("_Record", bound="RankFailure | NodeExit")


@dataclass(frozen=True)
class AttemptFolder:
    """Paths below `.pipeline/runs/<run>/stages/<address>/<attempt>/`."""

    path: Path

    @property
    def job(self) -> Path:
        """The order; written by the runner before the attempt starts."""
        return self.path / "job.json"

    @property
    def scratch(self) -> Path:
        """What a stage may lose; removed by the agent when its workers have ended."""
        return self.path / "scratch"

    @property
    def verified_inputs(self) -> Path:
        """Notes of which artifacts a process of this run has verified on this machine."""
        return self._run / "verified"

    @property
    def machine_cache(self) -> Path:
        """Local copies of an object store's artifacts and state; kept between runs."""
        return (self._run.parents[1] if self._run != self.path else self.path) / "cache"

    @property
    def _run(self) -> Path:
        # An attempt that stands alone (a pod's, a test's) keeps all to itself.
        above = self.path.parents
        return above[2] if len(above) > 4 and above[1].name == "stages" else self.path

    def log(self, rank: int) -> Path:
        """What a rank printed, stdout and stderr together."""
        return self.path / "logs" / f"rank-{rank}.log"

    def failure(self, rank: int) -> Path:
        """A RankFailure; there only when the rank's code raised."""
        return self.path / f"failure-{rank}.json"

    def node_exit(self, node: int) -> Path:
        """A NodeExit; absent when the agent itself was killed."""
        return self.path / f"exit-{node}.json"


@dataclass(frozen=True)
class RankFailure:
    """Why a rank ended, in its own words.

    Attributes:
        type: name of the exception's class.
        message: its text; one that names the place and the fix, where the code knew it.
        traceback: the last frames, innermost last.
        exit_code: what the process ends with.
        time: Unix time, to tell the first failure from those it caused.
    """

    type: str
    message: str
    traceback: str
    exit_code: int
    time: float

    def write(self, path: Path) -> None:
        """Replaces the file.

        Raises:
            OSError: it cannot be written.
        """
        _write(path, self)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None when there is no such file or not a whole one."""
        return _read(cls, path)


@dataclass(frozen=True)
class NodeExit:
    """How all ranks of one node ended.

    Attributes:
        exit_code: of the rank that failed first; 0 when all succeeded, 128 + n for signal n,
            124 when the time was up.
        rank: the rank that failed first, None when none did.
        signal: what killed that rank, e.g. "SIGKILL"; None when it ended by itself.
        cause: one line for a person; "" when all succeeded.
        log_tail: last lines of that rank's log.
        time: of the first failure, or of the end when there was none; Unix time.
        is_witness: another node's end, seen from outside: that it is gone, not why.
    """

    exit_code: int
    rank: int | None
    signal: str | None
    cause: str
    log_tail: list[str]
    time: float
    is_witness: bool = False

    def write(self, path: Path) -> None:
        """Replaces the file.

        Raises:
            OSError: it cannot be written.
        """
        _write(path, self)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None when there is no such file or not a whole one."""
        return _read(cls, path)


def log_tail(path: Path, lines: int = _TAIL_LINES) -> list[str]:
    """The last lines of a log, without reading all of it; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:]


def share_name(attempt_id: str, node: int) -> str:
    """Names one node's share of an attempt."""
    return f"{attempt_id}/{node}"


def share_of(pid: int) -> str | None:
    """The share a process was started by; None when by none, or it cannot be told."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{SHARE_VARIABLE}=".encode()
    found = [value for value in variables if value.startswith(prefix)]
    return os.fsdecode(found[0].removeprefix(prefix)) if found else None


def _write(path: Path, record: RankFailure | NodeExit) -> None:
    # Not fsynced: after the machine itself went down nobody asks how its processes ended.
    replace_file(path, json.dumps(asdict(record)).encode(), durable=False)


def _read(kind: type[_Record], path: Path) -> _Record | None:
    try:
        return kind(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
