"""TensorBoard event files without torch or tensorflow; the only file that imports tensorboard."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.metrics import names

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

_WRITE_EVERY_SECONDS = 1.0


class TensorBoardFile:
    """Scalars of one attempt. They are handed on once a second: serialising costs 25 us each."""

    def __init__(self, folder: Path) -> None:
        """Opens no file and imports nothing until the first scalars are due."""
        self._folder = folder
        self._writer: EventFileWriter | None = None
        self._pending: list[tuple[str, float, int, float]] = []
        self._tags: dict[str, str] = {}
        self._written = time.monotonic()

    def scalar(self, name: str, value: float, step: int) -> None:
        """Takes a scalar; its tag is the name with the labels' values behind slashes.

        Raises:
            OSError: the folder cannot be written.
        """
        self._pending.append((name, value, step, time.time()))
        now = time.monotonic()
        if now - self._written >= _WRITE_EVERY_SECONDS:
            self._written = now
            self._write()

    def close(self) -> None:
        """Writes what is pending and ends the writer's thread.

        Raises:
            OSError: the folder cannot be written.
        """
        self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        if not self._pending:
            return
        # Deferred: half a second of import that stages without scalars need not pay.
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

        pending, self._pending = self._pending, []
        if self._writer is None:
            self._writer = EventFileWriter(str(self._folder), flush_secs=1)
        for name, value, step, when in pending:
            summary = Summary(value=[Summary.Value(tag=self._tag(name), simple_value=value)])
            self._writer.add_event(Event(wall_time=when, step=step, summary=summary))

    def _tag(self, name: str) -> str:
        if name not in self._tags:
            metric, labels = names.parse(name)
            self._tags[name] = "/".join((metric, *labels.values()))
        return self._tags[name]
