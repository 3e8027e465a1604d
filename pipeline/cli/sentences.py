"""What each event of a run says to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.numbers import duration
from pipeline.runner import events as ev
from pipeline.runner.last_words import with_rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.runner.state import RunState


def sentence(event: ev.Event, state: RunState) -> str:
    """One line for a person; empty for what needs no telling."""
    teller = _TELLERS.get(type(event))
    return teller(event, state) if teller else ""


def _planned(event: ev.StagesPlanned, state: RunState) -> str:
    counts: dict[str, int] = {}
    for stage in event.stages:
        counts[stage.action] = counts.get(stage.action, 0) + 1
    return f"run {state.run}: " + ", ".join(f"{n} to {action}" for action, n in counts.items())


def _started(event: ev.AttemptStarted, state: RunState) -> str:
    size = event.nodes * event.processes_per_node
    processes = "" if size == 1 else f" ({size} processes)"
    if event.how == "adopted":
        return f"{event.stage}: taken up, attempt {event.attempt} goes on{processes}"
    again = "" if event.attempt == 1 else f" again, attempt {event.attempt}"
    by = " by the cluster" if event.how == "restarted" else ""
    return f"{event.stage}: started{again}{by}{processes}"


def _finished(event: ev.StageFinished, state: RunState) -> str:
    return f"{event.stage}: done in {duration(state.stages[event.stage].busy_seconds)}"


def _ended(event: ev.AttemptEnded, state: RunState) -> str:
    if event.exit_code == 0:
        return ""
    cause = with_rank(event.rank, event.cause)
    return f"{event.stage}: attempt {event.attempt} ended with {event.exit_code}: {cause}"


def _failed(event: ev.StageFailed, state: RunState) -> str:
    attempts = state.stages[event.stage].attempts
    told = bool(attempts) and event.cause == attempts[-1].cause
    return f"{event.stage}: failed: {event.exit_name}{'' if told else f': {event.cause}'}"


def _retried(event: ev.RetryScheduled, state: RunState) -> str:
    attempts = state.stages[event.stage].attempts
    # Why the last one ended has just been told.
    why = event.why.removeprefix(attempts[-1].cause).lstrip("; ") if attempts else event.why
    return f"{event.stage}: tries again in {duration(event.delay_seconds)}: {why}"


_TELLERS: dict[type[Any], Callable[[Any, RunState], str]] = {
    ev.StagesPlanned: _planned,
    ev.AttemptStarted: _started,
    ev.AttemptPending: lambda e, _: f"{e.stage}: waits: {e.why}" if e.why else f"{e.stage}: runs",
    ev.AttemptEnded: _ended,
    ev.StageFinished: _finished,
    ev.StageReused: lambda e, _: f"{e.stage}: reused ({e.reason or e.how})",
    ev.CodeAccepted: lambda e, _: f"{e.stage}: kept, its changed code accepted",
    ev.StageWaiting: lambda e, _: f"{e.stage}: waits, {e.holder} builds it",
    ev.RetryScheduled: _retried,
    ev.StageFailed: _failed,
    ev.StageCancelled: lambda e, _: f"{e.stage}: stopped: {e.cause}",
    ev.StageBlocked: lambda e, _: f"{e.stage}: blocked, {e.by} failed",
    ev.CellsProposed: lambda e, _: f"{e.stage}: {len(e.cells)} new cells",
    ev.CancelRequested: lambda e, _: (
        "stopping at once" if e.now else "stopping after a checkpoint; ask again to stop at once"
    ),
    # How it ended, the summary says; it is printed after the display is gone.
    ev.RunEnded: lambda e, s: f"run {s.run}: {e.status}: {e.cause}" if e.cause else "",
}
