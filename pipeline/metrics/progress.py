"""How far a stage is: what one live line, `status` and an ETA are made of."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.storage.files import replace_file

_WRITE_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """A snapshot.

    Attributes:
        step: steps taken, or work units done by a stage that does not train.
        total_steps: what `step` will reach.
        loss: of the last step; None for a stage that does not train, and for a loss that is no
            number.
        rate: units a second.
        unit: what the rate counts, e.g. "tokens", "documents".
        time: when it was told, Unix time.
        phase: what the stage is at outside its steps, e.g. "evaluating"; "" within them.
    """

    step: int
    total_steps: int
    loss: float | None
    rate: float
    unit: str
    time: float
    phase: str = ""


def read_progress(path: Path) -> Progress | None:
    """The newest snapshot of an attempt, None when it has written none (or not a whole one)."""
    try:
        return Progress(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class ProgressFile:
    """Replaces progress.json at most twice a second, and with the last snapshot at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: Progress | None = None
        self._written = float("-inf")

    def put(self, progress: Progress) -> None:
        """Takes a newer snapshot.

        Raises:
            OSError: the file cannot be written.
        """
        self._pending = progress
        if time.monotonic() - self._written >= _WRITE_EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the last snapshot unless it is there.

        Raises:
            OSError: the file cannot be written.
        """
        if self._pending is not None:
            self._written = time.monotonic()
            data = json.dumps(asdict(self._pending), allow_nan=False).encode()
            self._pending = None
            replace_file(self._path, data, durable=False)
