"""The attempts of a run over time; long times in which nothing ran are cut out of the axis."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.numbers import duration, moment
from pipeline.runner.state import AttemptState, RunState, RunStatus

_CUT_SHARE = 0.25
"""A pause longer than this share of the time in which something ran is cut."""
_MAX_CUTS = 8
_CUT_WIDTH = 0.03
"""What a cut pause keeps, as a share of the same."""
_TICK_SECONDS = (
    0.1,
    0.5,
    1,
    2,
    5,
    10,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
    7200,
    14400,
    43200,
    86400,
)
_MAX_TICKS = 7


@dataclass(frozen=True)
class Bar:
    """An attempt; places in percent of the axis. `look` is how it ended, or "running"."""

    left: float
    width: float
    look: str
    label: str
    title: str


@dataclass(frozen=True)
class Row:
    """A stage and its attempts."""

    stage: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Timeline:
    """All rows, the axis' ticks (percent, text), and its cuts (percent, width, text)."""

    rows: Sequence[Row]
    ticks: Sequence[tuple[float, str]]
    cuts: Sequence[tuple[float, float, str]]


def timeline_of(state: RunState, now: float) -> Timeline:
    """The run's attempts; rows in the order in which the stages began.

    Args:
        state: the run.
        now: Unix time, to which attempts at work reach.
    """
    known = now if state.status is RunStatus.RUNNING else state.updated
    stages = [stage for stage in state.stages.values() if stage.attempts]
    stages.sort(key=lambda stage: stage.attempts[0].started)
    axis = _Axis([_span(a, known) for stage in stages for a in stage.attempts])
    rows = [Row(s.address, [_bar(a, state, known, axis) for a in s.attempts]) for s in stages]
    return Timeline(rows, axis.ticks(), axis.cuts())


def _span(attempt: AttemptState, known: float) -> tuple[float, float]:
    """Start and end; one without end was at work until `known`, when its runner was last heard."""
    end = known if attempt.ended is None else attempt.ended
    return attempt.started, max(end, attempt.started)


def _bar(attempt: AttemptState, state: RunState, known: float, axis: "_Axis") -> Bar:
    start, end = _span(attempt, known)
    left, right = axis.place(start), axis.place(end)
    took = duration(end - start)
    if attempt.ended is not None:
        look = attempt.exit_class or "done"
    else:
        look = "running" if state.status is RunStatus.RUNNING else "killed"
    how = {"done": "done", "running": "running", "killed": "no end known"}.get(
        look, f"exit {attempt.exit_code}: {attempt.cause}"
    )
    title = f"attempt {attempt.number}, {moment(start)}, {took}, {how}"
    return Bar(left, max(right - left, 0.0), look, took, title)


class _Axis:
    """Seconds to percent, piece by piece."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._busy = _union(spans)
        total = sum(end - start for start, end in self._busy) or 1.0
        self._first = self._busy[0][0] if self._busy else 0.0
        # Knots: times and their places, linear between.
        self._times, self._places = [self._first], [0.0]
        pauses = [(a[1], b[0]) for a, b in pairwise(self._busy) if b[0] - a[1] > _CUT_SHARE * total]
        self._pauses = sorted(sorted(pauses, key=lambda p: p[0] - p[1])[:_MAX_CUTS])
        for number, (start, end) in enumerate(self._busy):
            if number:
                before = self._busy[number - 1][1]
                is_cut = (before, start) in self._pauses
                self._knot(start, _CUT_WIDTH * total if is_cut else start - before)
            self._knot(end, end - start)
        self._scale = 100.0 / (self._places[-1] or 1.0)

    def _knot(self, time: float, width: float) -> None:
        self._times.append(time)
        self._places.append(self._places[-1] + width)

    def place(self, time: float) -> float:
        """Percent from the left."""
        index = min(max(bisect_right(self._times, time) - 1, 0), len(self._times) - 2)
        if index < 0:
            return 0.0
        start, end = self._times[index], self._times[index + 1]
        share = (time - start) / (end - start) if end > start else 0.0
        low, high = self._places[index], self._places[index + 1]
        return round((low + (high - low) * min(max(share, 0.0), 1.0)) * self._scale, 3)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and the time since the start; none inside a cut."""
        length = self._places[-1]
        step = next((s for s in _TICK_SECONDS if length / s <= _MAX_TICKS), None)
        step = step or 86400.0 * max(1, round(length / 86400 / _MAX_TICKS))
        found: list[tuple[float, str]] = []
        for start, end in self._uncut():
            number = -int(-(start - self._first) // step)
            while self._first + number * step <= end:
                place = self.place(self._first + number * step)
                if not found or place - found[-1][0] > 60 / _MAX_TICKS:
                    found.append((place, duration(number * step) if number else "0"))
                number += 1
        return found

    def cuts(self) -> list[tuple[float, float, str]]:
        """Where the axis is cut."""
        return [
            (self.place(a), self.place(b) - self.place(a), duration(b - a)) for a, b in self._pauses
        ]

    def _uncut(self) -> list[tuple[float, float]]:
        edges = [self._times[0], *(t for pause in self._pauses for t in pause), self._times[-1]]
        return list(zip(edges[::2], edges[1::2], strict=True))


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
