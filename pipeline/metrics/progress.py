"""How far a stage is: what one live line, `status` and an ETA are made of."""

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.metrics import names

_WINDOW_SECONDS = 20.0
_WRITE_EVERY_SECONDS = 0.5
# The first of these that a stage counts is what its rate is given in.
_RATES = (
    (names.TRAIN_TOKENS_TOTAL.name, "tokens"),
    (names.TRAIN_SAMPLES_TOTAL.name, "samples"),
    (names.STAGE_ITEMS_TOTAL.name, "items"),
)


@dataclass(frozen=True)
class Progress:
    """A snapshot.

    Attributes:
        step: the last step, or items done by a stage that does not train.
        total_steps: what `step` will reach; None when the stage did not say.
        loss: of the last step; None for a stage that does not train.
        rate: units a second over the last 20 seconds; None before there are two points.
        unit: "tokens", "samples", or what the stage counts ("documents").
        time: when it was written, Unix time.
    """

    step: int
    total_steps: int | None
    loss: float | None
    rate: float | None
    unit: str
    time: float


def read_progress(path: Path) -> Progress | None:
    """The newest snapshot of an attempt, None when it has written none (or not a whole one)."""
    try:
        return Progress(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class ProgressFile:
    """Derives progress from what a recorder is told and replaces the file at most twice a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._step = 0
        self._total: int | None = None
        self._loss: float | None = None
        self._unit = "steps"
        self._rank = len(_RATES)  # index into _RATES of what is counted now
        self._points: deque[tuple[float, float]] = deque()
        self._written = 0.0
        self._dirty = False

    def scalar(self, name: str, value: float, step: int) -> None:
        """Takes note of a gauge."""
        if name in (names.TRAIN_PLANNED_STEPS.name, names.STAGE_PLANNED_ITEMS.name):
            self._total = int(value)
        elif name.startswith("train_"):
            self._step = max(self._step, step)
            if name == names.TRAIN_LOSS.name:
                self._loss = value
        self._dirty = True

    def count(self, name: str, labels: dict[str, str], total: float) -> None:
        """Takes note of a counter's new total."""
        for rank, (counted, unit) in enumerate(_RATES[: self._rank + 1]):
            if counted != name:
                continue
            if rank < self._rank:
                self._rank, self._unit = rank, labels.get("unit", unit)
                self._points.clear()
            if name == names.STAGE_ITEMS_TOTAL.name:
                self._step = int(total)
            self._point(total)
            self._dirty = True

    def write(self, *, force: bool = False) -> None:
        """Replaces the file when there is news and the last time is long enough ago.

        Raises:
            OSError: the file cannot be written.
        """
        now = time.monotonic()
        if not self._dirty or (not force and now - self._written < _WRITE_EVERY_SECONDS):
            return
        self._written, self._dirty = now, False
        snapshot = Progress(
            self._step, self._total, _finite(self._loss), self._rate(), self._unit, time.time()
        )
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(snapshot)))
        temporary.replace(self._path)

    def _point(self, total: float) -> None:
        now = time.monotonic()
        if self._points and now - self._points[-1][0] < _WRITE_EVERY_SECONDS / 2:
            return
        self._points.append((now, total))
        while now - self._points[0][0] > _WINDOW_SECONDS:
            self._points.popleft()

    def _rate(self) -> float | None:
        if len(self._points) < 2:
            return None
        (start, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - start)


def _finite(value: float | None) -> float | None:
    # JSON has no NaN; a diverged loss shows as none.
    return value if value is not None and abs(value) < float("inf") else None
