"""The files of a task, record by record, with errors that name file and line."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.errors import DataError
from pipeline.storage.sources import failures, open_source, source_failure, source_files


class Record(NamedTuple):
    """One row of a table.

    Attributes:
        where: "FILE:LINE", for messages.
        fields: its columns.
    """

    where: str
    fields: Sequence[str]

    def column(self, place: int, name: str) -> str:
        """One column.

        Raises:
            DataError: the row is too short.
        """
        if place >= len(self.fields):
            msg = f"{self.where}: no {name}: column {place + 1} of {len(self.fields)}"
            raise DataError(msg)
        return self.fields[place]

    def number(self, text: str, name: str) -> float:
        """Text as a number.

        Raises:
            DataError: it is none.
        """
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not math.isfinite(value):
            msg = f"{self.where}: {name} is {text!r}, not a number"
            raise DataError(msg)
        return value


def read_texts(source: str) -> Iterator[tuple[str, str]]:
    """(file, its text) of every file of a source.

    Raises:
        DataError: there is none, or one is no UTF-8.
        StoreError: one cannot be read.
    """
    files = source_files(source)
    if not files:
        msg = f"{source}: no such file"
        raise DataError(msg)
    for file in files:
        try:
            with open_source(file.path) as stream:
                raw = stream.read()
        except failures(source) as exc:
            raise source_failure(source, exc) from exc
        try:
            yield file.path, raw.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            line = raw.count(b"\n", 0, exc.start) + 1
            msg = f"{file.path}:{line}: not UTF-8: {exc.reason}"
            raise DataError(msg) from exc


def read_tsv(source: str) -> Iterator[Record]:
    """Rows of files whose columns are parted by tabs; a quote is a character like any other."""
    for path, text in read_texts(source):
        # Not splitlines: it also breaks at characters that stand inside sentences.
        for number, line in enumerate(text.split("\n"), 1):
            row = line.removesuffix("\r")
            if row:
                yield Record(f"{path}:{number}", row.split("\t"))


def read_csv(source: str) -> Iterator[Record]:
    """Rows of comma-separated files; quoted fields may hold line ends.

    Raises:
        DataError: a row is no CSV.
    """
    for path, text in read_texts(source):
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        begin = 1
        try:
            for row in reader:
                if row:
                    yield Record(f"{path}:{begin}", row)
                begin = reader.line_num + 1
        except csv.Error as exc:
            msg = f"{path}:{begin}: no CSV: {exc}"
            raise DataError(msg) from exc


def read_json(source: str) -> Iterator[tuple[str, Any]]:
    """(file, content) of JSON files.

    Raises:
        DataError: one is no JSON; names the line.
    """
    for path, text in read_texts(source):
        try:
            yield path, json.loads(text)
        except json.JSONDecodeError as exc:
            msg = f"{path}:{exc.lineno}: no JSON: {exc.msg}"
            raise DataError(msg) from exc
        except RecursionError as exc:
            msg = f"{path}: nested too deeply"
            raise DataError(msg) from exc
