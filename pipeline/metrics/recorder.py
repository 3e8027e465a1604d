"""Where a stage's numbers go: metrics.jsonl, progress.json, TensorBoard, pictures.

Recording never ends a stage: a full disk costs lines, with one warning, not the training.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.metrics.gallery import save_picture
from pipeline.metrics.pictures import Picture
from pipeline.metrics.progress import Progress, ProgressFile
from pipeline.metrics.tensorboard import TensorBoardFile

METRICS_FILE = "metrics.jsonl"
PROGRESS_FILE = "progress.json"
TENSORBOARD_FOLDER = "tensorboard"
PICTURES_FOLDER = "pictures"

_COUNTS_EVERY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class NullRecorder:
    """Takes everything, keeps nothing: ranks above 0."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def count(self, name: str, n: float = 1) -> None:
        """Nothing."""

    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        """Nothing."""

    def show(self, picture: Picture, step: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


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
        self._tensorboard = TensorBoardFile(folder / TENSORBOARD_FOLDER)
        self._totals: dict[str, float] = {}
        self._news: set[str] = set()
        self._counted = time.monotonic()
        self._step = 0
        self._warned = False

    def scalar(self, name: str, value: float, step: int) -> None:
        """A value at a step."""
        value = float(value)
        self._step = step
        self._try(lambda: self._append(name, value, step))
        self._try(lambda: self._tensorboard.scalar(name, value, step))

    def count(self, name: str, n: float = 1) -> None:
        """Adds to a counter; metrics.jsonl gets its total."""
        self._totals[name] = self._totals.get(name, 0) + n
        self._news.add(name)
        now = time.monotonic()
        if now - self._counted >= _COUNTS_EVERY_SECONDS:
            self._counted = now
            self._try(self._append_counts)

    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        """What progress.json says from now on."""
        loss = loss if loss is not None and math.isfinite(loss) else None
        rate = rate if math.isfinite(rate) else 0.0
        snapshot = Progress(step, total_steps, loss, rate, unit, time.time())
        self._try(lambda: self._progress.put(snapshot))

    def show(self, picture: Picture, step: int) -> None:
        """One file in pictures/."""
        self._try(lambda: save_picture(self._folder / PICTURES_FOLDER, picture, step))

    def close(self) -> None:
        """Writes what is pending; the recorder takes nothing afterwards."""
        self._try(self._append_counts)
        self._try(self._progress.flush)
        self._try(self._tensorboard.close)
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
        try:
            write()
        except OSError as exc:
            if not self._warned:
                self._warned = True
                _log.warning("metrics are being lost, training goes on: %s", exc)


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
