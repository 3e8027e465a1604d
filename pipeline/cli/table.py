"""The table of a run's stages, cut to the terminal so that every row can still be told apart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from pipeline.metrics.progress import read_progress
from pipeline.numbers import duration
from pipeline.runner.gpu_time import gpu_time
from pipeline.runner.state import AttemptState, StageState, StageStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from pipeline.cli.pace import Pace

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
"""A study has thousands of cells, and a terminal some fifty lines."""
_BETWEEN = 2
"""Blanks between two columns."""
_PROGRESS_WIDTH = 28
"""What the last column keeps beside long names: `step 12000/500000  2%  3.1k`."""
_LEAST_WIDTH = 6


class StageTable:
    """A row per stage: state, attempt, time, progress or why it stands where it stands.

    The last column alone gives way to a narrow terminal; names do when that is not enough.
    """

    def __init__(self, stages: Sequence[StageState], pace: Pace) -> None:
        """Reads the progress files now."""
        # What is at work or went wrong is worth a row before what waits or is done.
        busy = {StageStatus.RUNNING, StageStatus.RETRYING, StageStatus.FAILED}
        self._hidden = max(0, len(stages) - _MAX_ROWS)
        if self._hidden:
            first = [stage for stage in stages if stage.status in busy]
            rest = [stage for stage in stages if stage.status not in busy]
            stages = (first + rest)[:_MAX_ROWS]
        self._stages = stages
        self._columns = {
            "attempt": [str(len(one.attempts)) if one.attempts else "" for one in stages],
            "time": [_stage_time(one) for one in stages],
        }
        if any(attempt.gpus for stage in stages for attempt in stage.attempts):
            self._columns["GPU-h (wasted)"] = [_gpu_hours(one) for one in stages]
        self._last = [_one_line(_last(one, pace.text(one))) for one in stages]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table in the width that there is."""
        widths = [max(map(len, (title, *cells))) for title, cells in self._columns.items()]
        taken = 1 + sum(widths) + _BETWEEN * (len(widths) + 2)
        names = _fitting([one.address for one in self._stages], options.max_width - taken)
        name_width = max(map(len, ("stage", *names)))
        last_width = max(_LEAST_WIDTH, options.max_width - taken - name_width)
        dim = "" if console.no_color else "dim"
        table = Table(box=None, pad_edge=False, header_style=dim or "not bold", expand=False)
        titles = ("", "stage", *self._columns)
        for title, width in zip(titles, (1, name_width, *widths), strict=True):
            table.add_column(title, width=width, no_wrap=True)
        table.add_column("progress", max_width=last_width, no_wrap=True, overflow="ellipsis")
        for stage, name, *cells, last in zip(
            self._stages, names, *self._columns.values(), self._last, strict=True
        ):
            glyph, style = GLYPHS[stage.status]
            table.add_row(
                Text(glyph, style="" if console.no_color else style),
                Text(name),
                *cells,
                Text(last, style=dim if stage.note else ""),
            )
        yield table
        if self._hidden:
            yield Text(f"   and {self._hidden} more stages", style=dim)


def _fitting(addresses: Sequence[str], room: int) -> list[str]:
    """Names that leave the last column its width; longer ones where they would look alike."""
    names = list(addresses)
    for limit in (room - _PROGRESS_WIDTH, room - _LEAST_WIDTH):
        names = [elided(address, max(limit, _LEAST_WIDTH)) for address in addresses]
        if len(set(names)) == len(set(addresses)):
            break
    return names


def elided(address: str, width: int) -> str:
    """An address in at most `width` characters; what tells a cell from others goes last."""
    if len(address) <= width:
        return address
    name, bracket, cell = address.partition("[")
    cell = bracket + cell
    room = width - len(cell) - 1
    if bracket and room > 0:
        return f"{name[:room]}…{cell}"
    left = (width - 1) // 3
    return f"{address[:left]}…{address[len(address) - (width - 1 - left) :]}"


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))


def _gpu_hours(stage: StageState) -> str:
    spent = gpu_time(stage, time.time())
    if not spent.held:
        return ""
    wasted = f" ({spent.wasted / 3600:.2f})" if spent.wasted else ""
    return f"{spent.held / 3600:.2f}{wasted}"


def _last(stage: StageState, pace: str) -> str:
    """How far it is; where no step tells that, rather why it stands where it stands."""
    return pace if "step " in pace else stage.note or pace or _note(stage)


def _note(stage: StageState) -> str:
    if stage.note:
        return stage.note
    return stage.reasons[0] if stage.reasons and stage.status is not StageStatus.DONE else ""


def _stage_time(stage: StageState) -> str:
    """Of all its attempts; one whose runner was killed counts up to its last sign of life."""
    if not stage.attempts:
        return ""
    busy = stage.busy_seconds
    for attempt in stage.attempts:
        if attempt.ended is None:
            is_running = stage.status is StageStatus.RUNNING and attempt is stage.attempts[-1]
            until = time.time() if is_running else _last_sign(attempt)
            busy += max(0.0, until - attempt.started)
    return duration(busy)


def _last_sign(attempt: AttemptState) -> float:
    progress = read_progress(Path(attempt.folder) / "progress.json")
    return attempt.started if progress is None else progress.time
