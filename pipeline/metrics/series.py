"""How a rank hands its numbers to who is scraped: one small file, written in place.

A write is one system call of some kilobytes into the page cache, a microsecond or two a step: it
waits for no reader, and a full disk is an error that costs the numbers, not the rank (writing to
a mapped file would be a SIGBUS then). Whoever reads checks a checksum and looks again.
"""

import json
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.metrics.names import METRICS, Metric, labelled, parse

SERIES_FOLDER = "series"
"""Folder of an attempt that holds one file a rank, named by it."""

MOST_SERIES = 1024
"""Of one rank. What comes after that is not exported: a label without bounds ends here."""

_HEAD = struct.Struct("<4sIII")  # magic, bytes of names, number of values, checksum of the values
_MAGIC = b"PLS1"
_NAMES_AT = _HEAD.size + 8 * MOST_SERIES
_TRIES = 20


class SeriesFile:
    """The series of one rank, as `name{label=value}`; one writer, one thread.

    Nothing is in the file before `flush`.
    """

    def __init__(self, path: Path) -> None:
        """Begins with no series; what was in the file is gone.

        Raises:
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o644)
        self._places: dict[str, int] = {}
        self._values = array("d")
        self._names = b""
        self._written_names = 0
        self._changed = False

    def set(self, series: str, value: float) -> None:
        """A gauge."""
        place = self._place(series)
        if place is not None:
            self._values[place] = value
            self._changed = True

    def add(self, series: str, n: float) -> None:
        """A counter."""
        place = self._place(series)
        if place is not None:
            self._values[place] += n
            self._changed = True

    def observe(self, metric: Metric, value: float) -> None:
        """A histogram: how many values fell into each bucket, and their sum."""
        place = bisect_left(metric.buckets, value)
        self.add(bucket_series(metric, place), 1.0)
        self.add(f"{metric.name}_sum", value)

    def prepare(self, metric: Metric) -> None:
        """Gives the series of a metric that are known beforehand their place, at 0."""
        if metric.kind == "histogram":
            for place in range(len(metric.buckets) + 1):
                self.add(bucket_series(metric, place), 0.0)
            self.add(f"{metric.name}_sum", 0.0)
        elif not metric.labels:
            self.add(metric.name, 0.0)
        else:
            for value in metric.known:
                self.add(labelled(metric, **{metric.labels[0]: value}), 0.0)

    def flush(self) -> None:
        """Lets readers see what was told since the last time.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._changed:
            return
        self._changed = False
        if len(self._names) > self._written_names:
            # Before the head that counts them.
            os.pwrite(self._file, self._names, _NAMES_AT)
            self._written_names = len(self._names)
        values = self._values.tobytes()
        head = _HEAD.pack(_MAGIC, len(self._names), len(self._values), zlib.crc32(values))
        os.pwrite(self._file, head + values, 0)

    def close(self) -> None:
        """Ends it; the file stays."""
        os.close(self._file)

    def _place(self, series: str) -> int | None:
        place = self._places.get(series)
        if place is None:
            if len(self._values) == MOST_SERIES:
                return None
            place = self._places[series] = len(self._values)
            self._values.append(0.0)
            self._names += json.dumps(series).encode() + b"\n"
        return place


def bucket_series(metric: Metric, place: int) -> str:
    """The series of a histogram's bucket number `place`; the last has no upper bound."""
    bound = f"{metric.buckets[place]:g}" if place < len(metric.buckets) else "+Inf"
    return f"{metric.name}_bucket{{le={bound}}}"


@dataclass(frozen=True)
class Sample:
    """The newest value of one series: of a metric, or of a part of a histogram.

    `part` is "" , "bucket" (not cumulative, label `le`) or "sum".
    """

    metric: Metric
    part: str
    labels: Mapping[str, str]
    value: float


def read_series(folder: Path) -> list[Sample]:
    """What the ranks of an attempt have told, each series once.

    Counters of the same name and labels are added over ranks, of gauges the lowest rank's counts.
    A rank's file that is missing, of another version or cut short is left out.
    """
    merged: dict[str, Sample] = {}
    try:
        names = [path.name for path in folder.iterdir() if path.name.isdecimal()]
    except FileNotFoundError:
        return []
    for name in sorted(names, key=int):
        series, values = _read(folder / name)
        for one, value in zip(series, values, strict=True):
            before = merged.get(one.written)
            if before is None:
                merged[one.written] = Sample(one.metric, one.part, one.labels, value)
            elif one.metric.kind != "gauge":
                total = before.value + value
                merged[one.written] = Sample(one.metric, one.part, one.labels, total)
    return list(merged.values())


@dataclass(frozen=True)
class _Series:
    """What a name in a file means, and at which place of the values."""

    written: str
    metric: Metric
    part: str
    labels: Mapping[str, str]
    place: int


def _read(path: Path) -> tuple[Sequence[_Series], Sequence[float]]:
    """The series of a rank that are exported, and their values."""
    for _ in range(_TRIES):
        try:
            data = path.read_bytes()
            magic, num_names, num_values, checksum = _HEAD.unpack_from(data)
        except (OSError, struct.error):
            break
        packed = data[_HEAD.size : _HEAD.size + 8 * min(num_values, MOST_SERIES)]
        if magic == _MAGIC and zlib.crc32(packed) == checksum:
            series = _meanings(data[_NAMES_AT : _NAMES_AT + num_names])
            values = array("d", packed)
            if series and series[-1].place >= len(values):
                break
            return series, [values[one.place] for one in series]
    return (), ()  # not ours, or written to without a pause


@lru_cache(maxsize=256)
def _meanings(names: bytes) -> tuple[_Series, ...]:
    """Kept: a rank's names change in its first seconds only, and reading them is most of the work.

    What is no declared metric, or cannot be read, is left out.
    """
    found = []
    for place, line in enumerate(names.split(b"\n")[:-1]):
        try:
            written = str(json.loads(line))
        except ValueError:
            continue
        name, labels = parse(written)
        part = ""
        for suffix in ("bucket", "sum"):
            base = name.removesuffix(f"_{suffix}")
            if base != name and base in METRICS and METRICS[base].kind == "histogram":
                name, part = base, suffix
        if name in METRICS:
            found.append(_Series(written, METRICS[name], part, labels, place))
    return tuple(found)
