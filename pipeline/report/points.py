"""The numbers an attempt recorded, as columns; read further as the file grows."""

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # pydantic's parser: half the time of json's

_BLOCK_BYTES = 4 << 20


@dataclass
class Column:
    """One series of an attempt in the order it was recorded: float64 values, int64 steps."""

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))


class PointsFile:
    """A metrics.jsonl; as `metrics.recorder.read_metrics`, a block instead of a line at a time.

    A million points take about a second so, and what was read before is not read again.
    """

    def __init__(self, path: Path) -> None:
        """Reads nothing yet."""
        self.path = path
        self.columns: dict[str, Column] = {}
        self.num_damaged = 0
        self._position = 0

    def read_new(self) -> bool:
        """Takes in the whole lines added since the last call; False when there is no file.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                rest = b""
                while block := file.read(_BLOCK_BYTES):
                    whole, newline, rest = (rest + block).rpartition(b"\n")
                    self._position += len(whole) + len(newline)
                    self._take_block(whole)
        except FileNotFoundError:
            return False
        return True

    def _take_block(self, block: bytes) -> None:
        try:
            # A line break inside a JSON text is written as an escape, so each one ends an entry.
            entries = from_json(b"[" + block.replace(b"\n", b",") + b"]")
        except ValueError:
            self._take_entries(self._whole_entries(block.split(b"\n")))
        else:
            self._take_entries(entries)

    def _whole_entries(self, lines: Iterable[bytes]) -> Iterable[Any]:
        for line in lines:
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):  # two halves of lines that a full disk cut
                self.num_damaged += 1

    def _take_entries(self, entries: Iterable[Any]) -> None:
        columns = self.columns
        for entry in entries:
            try:
                name, step, value = entry["name"], entry["step"], float(entry["value"])
                column = columns.get(name)
                if column is None:
                    column = columns[str(name)] = Column()
                column.steps.append(step)
            except (KeyError, TypeError, ValueError, OverflowError):
                self.num_damaged += 1
            else:
                column.values.append(value)
