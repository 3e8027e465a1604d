"""Why attempts ended, in a few words that are always the same: what restarts are counted by."""

from pipeline.errors import WorkerExit
from pipeline.runner.state import AttemptState, StageState, StageStatus

_TIMED_OUT = 124


def restart_cause(attempt: AttemptState) -> str:
    """One of `metrics.names.STAGE_RESTARTS_TOTAL.known`; the attempt has ended."""
    code = attempt.exit_code or 0
    if attempt.exit_class == "free":
        return "preempted" if code == WorkerExit.PREEMPTED else "lost"
    if code == _TIMED_OUT:
        return "timeout"
    return "killed" if code > 128 else "crashed"


def restarts(stage: StageState) -> dict[str, int]:
    """Cause -> attempts that were followed by another, or are to be."""
    counts: dict[str, int] = {}
    ended = stage.attempts if stage.status is StageStatus.RETRYING else stage.attempts[:-1]
    for attempt in ended:
        if attempt.exit_class in ("free", "counted"):
            cause = restart_cause(attempt)
            counts[cause] = counts.get(cause, 0) + 1
    return counts
