"""What a person should know about a run: failures and warnings, one line each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.runner.record import RunRecord
from pipeline.runner.state import RunState, RunStatus, StageState
from pipeline.spec.attempt import AttemptFolder

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:WARNING|ERROR) ([\w.]+): (.+)")
"""How the framework's own logging writes a warning; what commands print is not taken for one."""
_LOG_BYTES = 256 * 1024
_MAX_LOGGED = 5


@dataclass(frozen=True)
class Note:
    """One line; `where` is a stage's address, or "run"."""

    level: Literal["failure", "warning"]
    where: str
    text: str
    advice: str = ""


def notes_of(state: RunState, record: RunRecord) -> list[Note]:
    """Failures first, then warnings, each in the order of the stages."""
    found = [*_of_run(state, record)]
    for stage in state.stages.values():
        found += _of_stage(stage)
    return sorted(found, key=lambda note: note.level != "failure")


def _of_run(state: RunState, record: RunRecord) -> Iterator[Note]:
    resume = f"pipeline resume {state.run} goes on with what is left"
    if state.status is RunStatus.KILLED:
        yield Note("failure", "run", "its runner was killed", resume)
    elif state.status in (RunStatus.CANCELLED, RunStatus.INTERRUPTED):
        yield Note("warning", "run", f"{state.status}: {state.cause or 'on request'}", resume)
    for checkout in record.code:
        if checkout.dirty:
            text = f"{checkout.folder} had uncommitted changes ({checkout.dirty[:12]})"
            yield Note("warning", "run", text)


def _of_stage(stage: StageState) -> Iterator[Note]:
    if stage.failure is not None:
        failed = stage.failure
        text = f"{_of_rank(failed.rank, failed.cause)} (exit {failed.exit_name})"
        yield Note("failure", stage.address, text, failed.advice)
    last = stage.attempts[-1] if stage.attempts else None
    for attempt in stage.attempts:
        if not attempt.exit_code or (attempt is last and stage.failure is not None):
            continue
        saved = "" if attempt.step is None else f"; step {attempt.step} was saved"
        cause = _of_rank(attempt.rank, attempt.cause or f"exit {attempt.exit_code}")
        yield Note("warning", stage.address, f"attempt {attempt.number} ended: {cause}{saved}")
    if stage.note.startswith("code "):
        yield Note("warning", stage.address, f"kept although its code changed: {stage.note}")
    if last is not None:
        yield from _logged(stage.address, AttemptFolder(Path(last.folder)).log(0))


def _of_rank(rank: int | None, cause: str) -> str:
    """The cause with the rank, once: most causes begin with it."""
    prefix = "" if rank is None else f"rank {rank}: "
    return cause if cause.startswith(prefix) else f"{prefix}{cause}"


def _logged(address: str, path: Path) -> Iterator[Note]:
    """The warnings at the end of a log, each text once."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return
    counts: dict[str, int] = {}
    for line in text.splitlines():
        match = _LOGGED.match(line)
        if match is not None:
            said = f"{match[1]}: {match[2]}"
            counts[said] = counts.get(said, 0) + 1
    for said, count in list(counts.items())[:_MAX_LOGGED]:
        yield Note("warning", address, said if count == 1 else f"{said} ({count} times)")
    if len(counts) > _MAX_LOGGED:
        yield Note("warning", address, f"{len(counts) - _MAX_LOGGED} more warnings in {path}")
