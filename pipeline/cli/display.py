"""What a person sees while a run goes on: a live table, or one plain line per event."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from typing_extensions import override

from pipeline.cli.options import Output
from pipeline.cli.pace import Pace
from pipeline.cli.sentences import sentence
from pipeline.cli.table import StageTable
from pipeline.runner.events import encode
from pipeline.runner.outcome import Listener
from pipeline.runner.state import RunState

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from pipeline.runner.events import Entry

_REDRAW_SECONDS = 0.1


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
    """One JSON object per event, as the journal keeps it, and the run's id in each."""

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        _say(json.dumps({"run": state.run, **json.loads(encode(entry))}))


class PlainLines(Display):
    """One line per event, and one per running stage every `every_seconds`."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds
        self._pace = Pace()

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        text = sentence(entry.event, state)
        if text:
            _say(f"{time.strftime('%H:%M:%S', time.localtime(entry.time))} {text}")

    @override
    def tick(self, state: RunState) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        for stage in state.stages.values():
            if line := self._pace.text(stage):
                _say(f"{time.strftime('%H:%M:%S')} {stage.address}: {line}")


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Who read is gone; the run goes on, and `status` shows it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class LiveTable(Display):
    """One line per stage, redrawn in place, and the last events below."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(highlight=False), auto_refresh=False)
        self._told: list[str] = []
        self._shown = 3
        self._pace = Pace()
        self._drawn = 0.0
        self._state: RunState | None = None

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
        with suppress(OSError):  # the terminal is gone
            # All of them, above the table that stays.
            self._live.console.print(
                "\n".join(self._told), markup=False, highlight=False, soft_wrap=True
            )
            self._shown = 0
            self._draw()
            self._live.stop()

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        if text := sentence(entry.event, state):
            self._told.append(f"{time.strftime('%H:%M:%S', time.localtime(entry.time))} {text}")
        self.tick(state)

    @override
    def tick(self, state: RunState) -> None:
        self._state = state
        # Hundreds of stages may be reused in a second; nobody reads so many tables.
        if time.monotonic() - self._drawn >= _REDRAW_SECONDS:
            with suppress(OSError):  # as above
                self._draw()

    def _draw(self) -> None:
        if self._state is None:
            return
        table = StageTable(list(self._state.stages.values()), self._pace)
        style = "" if self._live.console.no_color else "dim"
        last = self._told[-self._shown :] if self._shown else []
        lines = [Text(f"  {line}", style=style, overflow="ellipsis", no_wrap=True) for line in last]
        self._live.update(Group(table, *lines), refresh=True)
        self._drawn = time.monotonic()
