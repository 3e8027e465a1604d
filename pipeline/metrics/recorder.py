"""Where a stage's numbers go: metrics.jsonl, progress.json, TensorBoard, pictures, Prometheus.

Recording never ends a stage: a full disk costs lines, with one warning, not the training.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import override

from pipeline.metrics.gallery import save_picture
from pipeline.metrics.names import METRICS, Metric, parse
from pipeline.metrics.pictures import Picture
from pipeline.metrics.progress import Progress, ProgressFile
from pipeline.metrics.series import SERIES_FOLDER, SeriesFile
from pipeline.metrics.tensorboard import TensorBoardFile

METRICS_FILE = "metrics.jsonl"
PROGRESS_FILE = "progress.json"
TENSORBOARD_FOLDER = "tensorboard"
PICTURES_FOLDER = "pictures"

_COUNTS_EVERY_SECONDS = 1.0
_COUNTS_SHARE = 0.001
"""Totals go to metrics.jsonl less often the longer an attempt lasts: some 8000 times in ten days."""
_SERIES_EVERY_SECONDS = 0.5
_log = logging.getLogger(__name__)


class NullRecorder:
    """Takes everything, keeps nothing."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def count(self, name: str, n: float = 1) -> None:
        """Nothing."""

    def gauge(self, name: str, value: float) -> None:
        """Nothing."""

    def observe(self, name: str, value: float) -> None:
        """Nothing."""

    def prepare(self, *metrics: Metric) -> None:
        """Nothing."""

    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        """Nothing."""

    def phase(self, what: str) -> None:
        """Nothing."""

    def show(self, picture: Picture, step: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Series:
    """What of a recorder's numbers Prometheus sees: what `names` declares."""

    def __init__(self, path: Path, *, takes: Callable[[Metric], bool]) -> None:
        """`takes` says which metrics are this process's to tell.

        Raises:
            OSError: the file cannot be written.
        """
        self._file = SeriesFile(path)
        self._takes = takes
        self._metrics: dict[str, Metric | None] = {}
        self._flushed = time.monotonic()

    def told(self, written: str) -> Metric | None:
        """The metric that a recorder's name names; None when it is not exported from here."""
        try:
            return self._metrics[written]
        except KeyError:
            metric = METRICS.get(parse(written)[0])
            if metric is not None and not self._takes(metric):
                metric = None
            self._metrics[written] = metric
            return metric

    def set(self, written: str, value: float) -> None:
        """The newest value of a gauge."""
        metric = self.told(written)
        if metric is not None and metric.kind == "gauge":
            self._file.set(written, value)
            self._flush_now_and_then()

    def add(self, written: str, n: float) -> None:
        """More of a counter."""
        metric = self.told(written)
        if metric is not None and metric.kind == "counter":
            self._file.add(written, n)
            self._flush_now_and_then()

    def observe(self, written: str, value: float) -> None:
        """One more value of a histogram."""
        metric = self.told(written)
        if metric is not None and metric.kind == "histogram":
            self._file.observe(metric, value)

    def prepare(self, metrics: Iterable[Metric]) -> None:
        """Lets what is known beforehand begin at 0."""
        for metric in metrics:
            if self._takes(metric):
                self._file.prepare(metric)
        self.flush()

    def flush(self) -> None:
        """Lets the agent see all of it."""
        self._flushed = time.monotonic()
        self._file.flush()

    def close(self) -> None:
        """The last numbers; the file stays."""
        try:
            self._file.flush()
        finally:
            self._file.close()

    def _flush_now_and_then(self) -> None:
        if time.monotonic() - self._flushed >= _SERIES_EVERY_SECONDS:
            self.flush()


class RankRecorder(NullRecorder):
    """What ranks above 0 tell: series for Prometheus, no files that a person reads.

    A rank of a gang tells only what each rank tells for itself; everything else is rank 0's. An
    independent worker tells all, and who is scraped adds it up.
    """

    def __init__(self, folder: Path, rank: int, *, is_gang: bool) -> None:
        """Writes into the attempt's folder.

        Raises:
            OSError: the folder cannot be written.
        """
        self._series = _Series(
            folder / SERIES_FOLDER / str(rank),
            takes=lambda metric: metric.is_per_rank or not is_gang,
        )
        self._guard = _Guard()

    @override
    def scalar(self, name: str, value: float, step: int) -> None:
        self._guard.attempt(lambda: self._series.set(name, value))

    @override
    def count(self, name: str, n: float = 1) -> None:
        self._guard.attempt(lambda: self._series.add(name, n))

    @override
    def gauge(self, name: str, value: float) -> None:
        self._guard.attempt(lambda: self._series.set(name, value))

    @override
    def observe(self, name: str, value: float) -> None:
        self._guard.attempt(lambda: self._series.observe(name, value))

    @override
    def prepare(self, *metrics: Metric) -> None:
        self._guard.attempt(lambda: self._series.prepare(metrics))

    @override
    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        self._guard.attempt(self._series.flush)

    @override
    def close(self) -> None:
        self._guard.attempt(self._series.close)


class _Guard:
    """Turns an error of the disk into one warning."""

    def __init__(self) -> None:
        self._warned = False

    def attempt(self, write: Callable[[], object]) -> None:
        """Does it, or not."""
        try:
            write()
        except OSError as exc:
            if not self._warned:
                self._warned = True
                _log.warning("metrics are being lost, training goes on: %s", exc)


class FileRecorder:
    """Writes into the attempt's folder; one process, one thread.

    A scalar is in metrics.jsonl, by one append, before the call returns: what a stage recorded
    before it published a checkpoint outlives a kill. Counters are written once a second.
    """

    def __init__(self, folder: Path) -> None:
        """Appends to what is in the folder; creates it where need be.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines = os.open(
            folder / METRICS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        self._progress = ProgressFile(folder / PROGRESS_FILE)
        self._snapshot = Progress(0, 0, None, 0.0, "", 0.0)
        self._tensorboard = TensorBoardFile(folder / TENSORBOARD_FOLDER)
        self._series = _Series(folder / SERIES_FOLDER / "0", takes=lambda _: True)
        self._totals: dict[str, float] = {}
        self._news: set[str] = set()
        self._began = self._counted = time.monotonic()
        self._step = 0
        self._guard = _Guard()

    def scalar(self, name: str, value: float, step: int) -> None:
        """A value at a step."""
        value = float(value)
        self._step = step
        self._try(lambda: self._append(name, value, step))
        self._try(lambda: self._tensorboard.scalar(name, value, step))
        self._try(lambda: self._series.set(name, value))

    def count(self, name: str, n: float = 1) -> None:
        """Adds to a counter; metrics.jsonl gets its total."""
        self._totals[name] = self._totals.get(name, 0) + n
        self._news.add(name)
        now = time.monotonic()
        pause = max(_COUNTS_EVERY_SECONDS, _COUNTS_SHARE * (now - self._began))
        if now - self._counted >= pause:
            self._counted = now
            self._try(self._append_counts)
        self._try(lambda: self._series.add(name, n))

    def gauge(self, name: str, value: float) -> None:
        """The newest value of a gauge, for Prometheus alone: no point of a curve."""
        self._try(lambda: self._series.set(name, value))

    def observe(self, name: str, value: float) -> None:
        """One more value of a histogram, for Prometheus alone."""
        self._try(lambda: self._series.observe(name, value))

    def prepare(self, *metrics: Metric) -> None:
        """Lets the series of these metrics that are known beforehand begin at 0."""
        self._try(lambda: self._series.prepare(metrics))

    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        """What progress.json says from now on; Prometheus sees all that was told before it."""
        loss = loss if loss is not None and math.isfinite(loss) else None
        rate = rate if math.isfinite(rate) else 0.0
        self._snapshot = Progress(step, total_steps, loss, rate, unit, time.time())
        self._try(lambda: self._progress.put(self._snapshot))
        self._try(self._series.flush)

    def phase(self, what: str) -> None:
        """What progress.json says beside the last step; a new phase is seen at once."""
        is_new = what.partition(",")[0] != self._snapshot.phase.partition(",")[0]
        self._snapshot = replace(self._snapshot, phase=what, time=time.time())
        self._try(lambda: self._progress.put(self._snapshot))
        if is_new:
            self._try(self._progress.flush)

    def show(self, picture: Picture, step: int) -> None:
        """One file in pictures/."""
        self._try(lambda: save_picture(self._folder / PICTURES_FOLDER, picture, step))

    def close(self) -> None:
        """Writes what is pending; the recorder takes nothing afterwards."""
        self._try(self._append_counts)
        self._try(self._progress.flush)
        self._try(self._tensorboard.close)
        self._try(self._series.close)
        os.close(self._lines)

    def _append(self, name: str, value: float, step: int) -> None:
        # NaN and infinity are no JSON numbers: they become the words that float() reads.
        number = value if math.isfinite(value) else str(value)
        line = json.dumps({"name": name, "value": number, "step": step, "time": time.time()})
        os.write(self._lines, line.encode() + b"\n")

    def _append_counts(self) -> None:
        for name in sorted(self._news):
            self._append(name, self._totals[name], self._step)
        self._news.clear()

    def _try(self, write: Callable[[], object]) -> None:
        self._guard.attempt(write)


@dataclass(frozen=True)
class Point:
    """One line of metrics.jsonl; `time` is Unix time in seconds."""

    name: str
    value: float
    step: int
    time: float


def read_metrics(path: Path) -> Iterator[Point]:
    """The points of an attempt, oldest first; a line cut short by a kill is left out.

    Raises:
        FileNotFoundError: the attempt recorded nothing.
    """
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
            except ValueError:  # two halves of lines that a full disk cut
                continue
            yield Point(entry["name"], float(entry["value"]), entry["step"], entry["time"])
