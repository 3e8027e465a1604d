"""Ranks' logs on the pod's own output, line by line, so that `kubectl logs` shows them live."""

import os
from collections.abc import Sequence
from pathlib import Path

_TURN_BYTES = 256 * 1024
"""A rank that prints without end must not keep the agent from its other work."""


class LogEcho:
    """Copies what is added to the logs as `[rank N] line`."""

    def __init__(self, logs: dict[int, Path], descriptor: int = 1) -> None:
        """`logs`: rank -> file, which need not exist yet; `descriptor` is where lines go."""
        self._logs = logs
        self._descriptor = descriptor
        # What is there was said by an earlier start of the same rank.
        self._offsets = {rank: _size(path) for rank, path in logs.items()}
        self._rests = dict.fromkeys(logs, b"")

    def turn(self) -> None:
        """Copies what has come since, no more than fits into a moment."""
        for rank in self._logs:
            self._copy(rank)

    def finish(self) -> None:
        """Copies all that is left, last lines without an end included."""
        for rank in self._logs:
            while self._copy(rank):
                continue
            if rest := self._rests[rank]:
                self._rests[rank] = b""
                self._write(rank, [rest])

    def _copy(self, rank: int) -> bool:
        try:
            with self._logs[rank].open("rb") as file:
                file.seek(self._offsets[rank])
                data = file.read(_TURN_BYTES)
        except OSError:
            return False  # not there yet
        if not data:
            return False
        self._offsets[rank] += len(data)
        *lines, self._rests[rank] = (self._rests[rank] + data).split(b"\n")
        self._write(rank, lines)
        return True

    def _write(self, rank: int, lines: Sequence[bytes]) -> None:
        text = b"".join(b"[rank %d] %s\n" % (rank, line) for line in lines)
        while text:
            try:
                text = text[os.write(self._descriptor, text) :]
            except OSError:
                return  # nobody reads any more; the file has it all


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
