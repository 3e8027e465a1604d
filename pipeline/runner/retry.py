"""Whether to try again: exit codes in classes, backoff, and the stop when nothing moves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import NEVER_RETRIED, WorkerExit
from pipeline.executors.base import AttemptEnd
from pipeline.planner.drift import CHANGED
from pipeline.runner.state import StageState
from pipeline.spec.resources import Retry

IDLE_RESTARTS = 2
"""Free restarts in a row that may end where the one before ended; a healthy gang that is preempted
this often without one checkpoint would restart for ever."""

MAX_BACKOFF_SECONDS = 3600.0
"""No pause is longer: a stage that needs more is better resumed by hand."""


class ExitClass(StrEnum):
    """What an exit means for the next attempt."""

    DONE = "done"
    FATAL = "fatal"
    """A second attempt would only repeat it."""
    FREE = "free"
    """Not the stage's fault: preempted, or the machine went away. Retried, not counted."""
    COUNTED = "counted"
    """Crashed: retried, counted against `max_attempts`."""
    CANCELLED = "cancelled"
    """The run was asked to stop."""


@dataclass(frozen=True)
class PastAttempt:
    """An ended attempt of this session: its class, the newest durable step it left, its cause."""

    exit_class: ExitClass
    step: int | None
    cause: str = ""


@dataclass(frozen=True)
class TryAgain:
    """Start the next attempt after the pause."""

    delay_seconds: float
    why: str


@dataclass(frozen=True)
class GiveUp:
    """No further attempt; `exit_code` and `cause` are the stage's, `advice` "" for the usual."""

    exit_code: int
    cause: str
    advice: str = ""


def classify(end: AttemptEnd) -> ExitClass:
    """The class of an attempt's end, a cancelled run aside."""
    if end.lost_node or end.exit_code == WorkerExit.PREEMPTED:
        return ExitClass.FREE
    if end.exit_code == WorkerExit.DONE:
        return ExitClass.DONE
    if end.exit_code in NEVER_RETRIED:
        return ExitClass.FATAL
    return ExitClass.COUNTED


def decide(policy: Retry, past: Sequence[PastAttempt], end: AttemptEnd) -> TryAgain | GiveUp:
    """What follows an attempt that did not succeed.

    Args:
        policy: the stage's `retry:` block.
        past: every attempt of this session, the one that just ended last.
        end: how that one ended.
    """
    newest = past[-1]
    if newest.exit_class is ExitClass.FATAL:
        return GiveUp(end.exit_code, end.cause, end.advice)
    if newest.exit_class is ExitClass.FREE:
        idle = _idle_restarts(past)
        if idle >= IDLE_RESTARTS:
            where = "before a first checkpoint" if newest.step is None else f"at step {newest.step}"
            cause = f"no progress: {idle + 1} attempts in a row ended {where}; last: {end.cause}"
            return GiveUp(WorkerExit.DIVERGED, cause)
        return TryAgain(0.0, f"{end.cause}; not counted")
    counted = sum(attempt.exit_class is ExitClass.COUNTED for attempt in past)
    is_error = end.exit_code <= 128
    if counted >= policy.max_attempts or (is_error and not policy.errors):
        return GiveUp(end.exit_code, end.cause)
    if _is_repetition(past, end):
        where = "" if newest.step is None else f", at step {newest.step}"
        return GiveUp(end.exit_code, f"{end.cause} (twice the same{where}: not tried again)")
    delay = min(policy.backoff_seconds * 2.0 ** min(counted - 1, 32), MAX_BACKOFF_SECONDS)
    return TryAgain(delay, f"{end.cause}; attempt {counted} of {policy.max_attempts} that count")


def _is_repetition(past: Sequence[PastAttempt], end: AttemptEnd) -> bool:
    """Whether an attempt crashed just as the one before and at the same step: a third will too.

    Not so for a signal or a refusing store: those are rarely the stage's own doing.
    """
    if len(past) < 2 or end.exit_code > 128 or end.exit_code == WorkerExit.STORE:
        return False
    before, newest = past[-2:]
    is_same = _without_addresses(before.cause) == _without_addresses(newest.cause)
    crashed = before.exit_class is newest.exit_class is ExitClass.COUNTED
    return crashed and bool(newest.cause) and is_same and before.step == newest.step


def _without_addresses(cause: str) -> str:
    """Objects that a message names lie elsewhere in each process, and any rank may be first."""
    return re.sub(r"^rank \d+|0x[0-9a-f]+", "", cause)


def _idle_restarts(past: Sequence[PastAttempt]) -> int:
    """How many attempts before the newest ended free at the very same step, without a gap."""
    newest, idle = past[-1], 0
    for attempt in reversed(past[:-1]):
        if attempt.exit_class is not ExitClass.FREE or attempt.step != newest.step:
            break
        idle += 1
    return idle


def past_attempts(stage: StageState, session: int) -> list[PastAttempt]:
    """The ended attempts that count towards a decision: those of this session.

    Whoever runs again after a failure has changed something, and gets all attempts anew.
    """
    return [
        PastAttempt(ExitClass(attempt.exit_class), attempt.step, attempt.cause)
        for attempt in stage.attempts
        if attempt.session == session and attempt.exit_class is not None
    ]


_NAMES = {
    WorkerExit.USAGE: "bad usage",
    WorkerExit.DATA: "bad data",
    WorkerExit.INPUT: "missing or broken input",
    WorkerExit.DIVERGED: "diverged or no progress",
    WorkerExit.STORE: "store or disk failed",
    WorkerExit.PREEMPTED: "preempted",
    WorkerExit.OUTPUT: "wrong outputs",
    WorkerExit.CHECK: "check failed",
    WorkerExit.CONFIG: "bad configuration",
    124: "out of time",
    128 + 6: "aborted",
    128 + 9: "killed",
    128 + 11: "segmentation fault",
    128 + 15: "terminated",
}

_AGAIN = "then `pipeline run` the DAG again"
"""And not resume: that repeats the run with the file as it was when the run began."""
_ADVICE = {
    WorkerExit.USAGE: "The stage was started wrongly: see the log; this is likely a bug.",
    WorkerExit.DATA: f"Mend or leave out the data named above, {_AGAIN}.",
    WorkerExit.INPUT: f"Run `pipeline cache verify`, {_AGAIN}: what is broken is built anew.",
    WorkerExit.DIVERGED: (
        f"Look at the loss in the log; lower the learning rate or clip harder, {_AGAIN}."
    ),
    WorkerExit.STORE: "Make room or mend the store, then resume the run.",
    WorkerExit.OUTPUT: f"Mend the stage's code, or what its kind promises, {_AGAIN}.",
    WorkerExit.CHECK: f"Change what leads to the score, or the bound, {_AGAIN}.",
    WorkerExit.CONFIG: f"Change the stage's configuration, {_AGAIN}.",
    124: f"Raise the stage's timeout_seconds, {_AGAIN}: it goes on from what is saved.",
    128 + 9: f"Often memory: lower the batch or give the stage more memory, {_AGAIN}.",
}


def exit_name(exit_code: int) -> str:
    """The code's name for a person: "65 bad data", "137 killed", "1 crashed"."""
    default = f"signal {exit_code - 128}" if exit_code > 128 else "crashed"
    return f"{exit_code} {_NAMES.get(exit_code, default)}"


def advice(exit_code: int, cause: str) -> str:
    """What to do about it, in one sentence."""
    if exit_code == WorkerExit.DIVERGED and cause.startswith("no progress"):
        return f"Give it longer between preemptions, or checkpoint more often, {_AGAIN}."
    if exit_code == WorkerExit.CONFIG and cause.startswith(CHANGED):
        return (
            "Nothing was recorded. Run again to build with what is there now, or set it back and "
            "resume."
        )
    return _ADVICE.get(exit_code, f"Read the log, mend the cause, {_AGAIN}.")
