"""Digests that were computed before, by name and stamp, in one file that is safe to delete."""

import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

_log = logging.getLogger(__name__)

_SCHEMA = "CREATE TABLE IF NOT EXISTS memo (name BLOB PRIMARY KEY, stamp TEXT, value TEXT)"
_CHUNK = 500  # SQLite's limit on variables was 999 for long
_WAIT_SECONDS = 1.0
_FRESH_NS = 2_000_000_000


def is_settled(mtime_ns: int, now_ns: int) -> bool:
    """Whether a file would show another time if it were written again.

    One that changed within the last two seconds may not: file systems count in ticks, FAT in twos
    of seconds. What is not settled must not be remembered.

    Args:
        mtime_ns: the file's time.
        now_ns: a moment before its content was read.
    """
    return now_ns - mtime_ns > _FRESH_NS


class Memo:
    """A small table on disk. It never fails: a broken or locked file only costs computing again."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the table; what is no table is replaced."""
        self._path = path
        self._connection = self._open(may_replace=True)

    def get(self, stamps: Mapping[str, str]) -> dict[str, str]:
        """Name -> value of those whose stamp (name -> stamp) is still the same."""
        found: dict[str, str] = {}
        names = list(stamps)
        try:
            for first in range(0, len(names), _CHUNK):
                if self._connection is None:
                    break
                # Bytes: a file's name need not be text, and SQLite's text must be.
                chunk = {os.fsencode(name): name for name in names[first : first + _CHUNK]}
                marks = ",".join("?" * len(chunk))
                query = f"SELECT name, stamp, value FROM memo WHERE name IN ({marks})"
                for name, stamp, value in self._connection.execute(query, list(chunk)):
                    if stamp == stamps[chunk[name]] and isinstance(value, str):
                        found[chunk[name]] = value
        except sqlite3.Error as exc:
            self._give_up(exc)
        return found

    def put(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Remembers values, (name, stamp, value) each."""
        rows = [(os.fsencode(name), stamp, value) for name, stamp, value in entries]
        if self._connection is None or not rows:
            return
        try:
            with self._connection:
                self._connection.executemany("REPLACE INTO memo VALUES (?, ?, ?)", rows)
        except sqlite3.Error as exc:
            self._give_up(exc)

    def close(self) -> None:
        """Closes the table; from then on nothing is found in it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self, *, may_replace: bool) -> sqlite3.Connection | None:
        connection = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS)
            # Not fsynced: what a crash of the machine takes is computed again.
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(_SCHEMA)
        except (sqlite3.Error, OSError) as exc:
            if connection is not None:
                connection.close()
            removed = self._removed(exc)
            return self._open(may_replace=False) if removed and may_replace else None
        return connection

    def _give_up(self, exc: sqlite3.Error) -> None:
        self.close()
        self._removed(exc)

    def _removed(self, exc: Exception) -> bool:
        """Removes a damaged table; False when it may be sound, or cannot be removed."""
        _log.debug("no memo of digests at %s: %s", self._path, exc)
        # An OperationalError is a lock, a full disk, a read-only folder.
        if isinstance(exc, sqlite3.OperationalError | OSError):
            return False
        try:
            self._path.unlink(missing_ok=True)
        except OSError as failure:
            _log.debug("and it cannot be removed: %s", failure)
            return False
        return True
