"""Digests of files that were hashed before, by path, size, time and inode; safe to delete."""

import logging
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

_SCHEMA = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT, value TEXT)"
_FRESH_SECONDS = 2.0
"""A file that changed this recently may change again without a new time: file systems count in
ticks, some in seconds."""
_CHUNK = 500  # SQLite's limit on variables was 999 for long


@dataclass(frozen=True)
class Stamp:
    """What changes when a file's content does."""

    size: int
    mtime_ns: int
    inode: int

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{self.size}:{self.mtime_ns}:{self.inode}"

    @property
    def is_settled(self) -> bool:
        """Whether a later change would show."""
        return time.time_ns() - self.mtime_ns > _FRESH_SECONDS * 1e9


class Memo:
    """A small table on disk. It never fails: a broken or locked file only costs recomputation."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the table; a damaged one is replaced."""
        self._path = path
        self._connection = self._open()

    def get(self, stamps: dict[str, Stamp]) -> dict[str, str]:
        """Values by path, of those whose stamp is still the same."""
        found: dict[str, str] = {}
        if self._connection is None:
            return found
        paths = list(stamps)
        try:
            for first in range(0, len(paths), _CHUNK):
                chunk = paths[first : first + _CHUNK]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT path, stamp, value FROM files WHERE path IN ({marks})"
                for path, stamp, value in self._connection.execute(query, chunk):
                    if stamp == stamps[path].text:
                        found[path] = value
        except sqlite3.Error as exc:
            self._give_up(exc)
        return found

    def put(self, entries: Iterable[tuple[str, Stamp, str]]) -> None:
        """Keeps values; what changed a moment ago is not kept."""
        rows = [(path, stamp.text, value) for path, stamp, value in entries if stamp.is_settled]
        if not rows or self._connection is None:
            return
        try:
            with self._connection:
                self._connection.executemany("REPLACE INTO files VALUES (?, ?, ?)", rows)
        except sqlite3.Error as exc:
            self._give_up(exc)

    def close(self) -> None:
        """Closes the table; from then on nothing is found in it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection | None:
        for attempt in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self._path, timeout=1.0)
                connection.execute("PRAGMA synchronous=OFF")
                connection.execute(_SCHEMA)
            except sqlite3.OperationalError as exc:  # locked, read-only: another time
                _log.debug("no memo of file digests at %s: %s", self._path, exc)
                return None
            except (sqlite3.DatabaseError, OSError) as exc:  # not a database
                _log.debug("memo of file digests at %s is damaged: %s", self._path, exc)
                if attempt == 0:
                    self._path.unlink(missing_ok=True)
                continue
            return connection
        return None

    def _give_up(self, exc: sqlite3.Error) -> None:
        _log.debug("memo of file digests at %s left aside: %s", self._path, exc)
        self.close()
        if not isinstance(exc, sqlite3.OperationalError):
            self._path.unlink(missing_ok=True)
