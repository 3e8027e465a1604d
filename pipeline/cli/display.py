"""What a person sees while a run goes on: a live table, or one plain line per event."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from pipeline.cli.numbers import duration, rate
from pipeline.cli.options import Output
from pipeline.metrics.progress import Progress, read_progress
from pipeline.runner import events as ev
from pipeline.runner.events import encode
from pipeline.runner.outcome import Listener
from pipeline.runner.state import RunState, StageState, StageStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from pipeline.runner.events import Entry

GLYPHS = {
    StageStatus.WAITING: ("·", "dim"),
    StageStatus.RUNNING: ("▶", "cyan"),
    StageStatus.RETRYING: ("↻", "yellow"),
    StageStatus.DONE: ("✔", "green"),
    StageStatus.REUSED: ("=", "green"),
    StageStatus.FAILED: ("✘", "red"),
    StageStatus.CANCELLED: ("■", "yellow"),
    StageStatus.BLOCKED: ("-", "red"),
    StageStatus.SKIPPED: ("-", "dim"),
}
_MAX_ROWS = 40
"""Rows of the live table; a study has thousands of cells, and a terminal some fifty lines."""


class Display(Listener):
    """A listener that is entered before the run and left after it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the screen as it should stay."""

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        """Nothing by default."""

    @override
    def tick(self, state: RunState) -> None:
        """Nothing by default."""


def choose_display(output: Output) -> Display:
    """JSON lines when asked for, a live table on a terminal, else plain lines."""
    if output is Output.JSON:
        return JsonLines()
    if sys.stdout.isatty() and not os.environ.get("CI"):
        return LiveTable()
    return PlainLines()


class JsonLines(Display):
    """One JSON object per event, as the journal keeps it."""

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        print(encode(entry).decode(), flush=True)


class PlainLines(Display):
    """One line per event, and one per running stage every `every_seconds`."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        text = sentence(entry.event, state)
        if text:
            print(f"{time.strftime('%H:%M:%S', time.localtime(entry.time))} {text}", flush=True)

    @override
    def tick(self, state: RunState) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        for stage in state.stages.values():
            if stage.status is StageStatus.RUNNING and (line := progress_text(stage)):
                print(f"{time.strftime('%H:%M:%S')} {stage.address}: {line}", flush=True)


class LiveTable(Display):
    """One line per stage, redrawn in place, and the last events below."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(highlight=False), auto_refresh=False)
        self._last: list[str] = []

    @override
    def __enter__(self) -> Self:
        self._live.start()
        return self

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        if text := sentence(entry.event, state):
            self._last = [*self._last[-2:], text]
        self.tick(state)

    @override
    def tick(self, state: RunState) -> None:
        table = stage_table(list(state.stages.values()))
        lines = [
            Text(f"  {line}", style="dim", overflow="ellipsis", no_wrap=True) for line in self._last
        ]
        self._live.update(Group(table, *lines), refresh=True)


def stage_table(stages: list[StageState]) -> Table:
    """A row per stage: state, attempt, progress, rate, loss, time left."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    for title in ("", "stage", "attempt", "time", "progress"):
        table.add_column(title, no_wrap=title != "progress", overflow="ellipsis")
    hidden = 0
    if len(stages) > _MAX_ROWS:
        # What is at work or went wrong is worth a row before what waits or is done.
        busy = {StageStatus.RUNNING, StageStatus.RETRYING, StageStatus.FAILED}
        first = [stage for stage in stages if stage.status in busy]
        rest = [stage for stage in stages if stage.status not in busy]
        hidden = len(stages) - _MAX_ROWS
        stages = (first + rest)[:_MAX_ROWS]
    for stage in stages:
        glyph, style = GLYPHS[stage.status]
        table.add_row(
            Text(glyph, style=style),
            Text(stage.address),
            str(len(stage.attempts)) if stage.attempts else "",
            _stage_time(stage),
            Text(progress_text(stage) or _note(stage), style="" if stage.note == "" else "dim"),
        )
    if hidden:
        table.add_row("", Text(f"and {hidden} more stages", style="dim"), "", "", "")
    return table


def progress_text(stage: StageState) -> str:
    """`step 120/500 24% 3.1k tokens/s loss 5.2 ETA 2m05s`, empty when nothing is known."""
    if stage.status is not StageStatus.RUNNING or not stage.attempts:
        return ""
    progress = read_progress(Path(stage.attempts[-1].folder) / "progress.json")
    return _progress(progress, stage) if progress else ""


def _progress(progress: Progress, stage: StageState) -> str:
    parts = [f"step {progress.step}/{progress.total_steps}"]
    if progress.total_steps:
        parts.append(f"{progress.step / progress.total_steps:.0%}")
    if progress.rate > 0:
        parts.append(rate(progress.rate, progress.unit))
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4g}")
    elapsed = progress.time - stage.attempts[-1].started
    if 0 < progress.step < progress.total_steps and elapsed > 0:
        left = elapsed / progress.step * (progress.total_steps - progress.step)
        parts.append(f"ETA {duration(left)}")
    return "  ".join(parts)


def _note(stage: StageState) -> str:
    if stage.note:
        return stage.note
    return stage.reasons[0] if stage.reasons and stage.status is not StageStatus.DONE else ""


def _stage_time(stage: StageState) -> str:
    busy = stage.busy_seconds
    if stage.attempts and stage.attempts[-1].ended is None and not stage.succeeded:
        busy += max(0.0, time.time() - stage.attempts[-1].started)
    return duration(busy) if stage.attempts else ""


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
    again = "" if event.attempt == 1 else f" again, attempt {event.attempt}"
    return f"{event.stage}: started{again}{processes}"


def _finished(event: ev.StageFinished, state: RunState) -> str:
    return f"{event.stage}: done in {duration(state.stages[event.stage].busy_seconds)}"


def _ended(event: ev.AttemptEnded, state: RunState) -> str:
    if event.exit_code == 0:
        return ""
    rank = "" if event.rank is None else f" rank {event.rank}"
    return (
        f"{event.stage}: attempt {event.attempt}{rank} ended with {event.exit_code}: {event.cause}"
    )


_TELLERS: dict[type[Any], Callable[[Any, RunState], str]] = {
    ev.StagesPlanned: _planned,
    ev.AttemptStarted: _started,
    ev.AttemptEnded: _ended,
    ev.StageFinished: _finished,
    ev.StageReused: lambda e, _: f"{e.stage}: reused ({e.reason or e.how})",
    ev.CodeAccepted: lambda e, _: f"{e.stage}: kept, its changed code accepted",
    ev.StageWaiting: lambda e, _: f"{e.stage}: waits, {e.holder} builds it",
    ev.RetryScheduled: lambda e, _: (
        f"{e.stage}: tries again in {duration(e.delay_seconds)}: {e.why}"
    ),
    ev.StageFailed: lambda e, _: f"{e.stage}: failed: {e.cause}",
    ev.StageCancelled: lambda e, _: f"{e.stage}: stopped: {e.cause}",
    ev.StageBlocked: lambda e, _: f"{e.stage}: blocked, {e.by} failed",
    ev.CellsProposed: lambda e, _: f"{e.stage}: {len(e.cells)} new cells",
    ev.CancelRequested: lambda e, _: "stopping" + (" at once" if e.now else " after a checkpoint"),
    # How it ended, the summary says; it is printed after the display is gone.
    ev.RunEnded: lambda e, s: f"run {s.run}: {e.status}: {e.cause}" if e.cause else "",
}
