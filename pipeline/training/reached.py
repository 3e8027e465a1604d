"""How far the attempts of a stage have come, saved or not: what a restart has to do again."""

import time
from pathlib import Path

from pipeline.storage.files import replace_file

REACHED_FILE = "reached"
_WRITE_EVERY_SECONDS = 1.0


class Reached:
    """The last step any attempt took, noted in the state's folder at most once a second.

    A note for people, never published: a state in an object store forgets it with its machine, and
    nothing that is computed depends on it.
    """

    def __init__(self, folder: Path) -> None:
        """Reads what the attempt before noted."""
        self._path = folder / REACHED_FILE
        self._written = time.monotonic()
        self.before = _read(self._path)

    def note(self, step: int) -> None:
        """A step was taken; ranks other than 0 do not call this.

        Raises:
            OSError: the note cannot be written.
        """
        if step <= self.before or time.monotonic() - self._written < _WRITE_EVERY_SECONDS:
            return
        self._written = time.monotonic()
        replace_file(self._path, str(step).encode(), durable=False)


def _read(path: Path) -> int:
    try:
        return int(path.read_bytes()[:20])
    except (OSError, ValueError):
        return 0
