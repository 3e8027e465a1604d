"""Documents in records: JSON lines, and comma- or tab-separated values with a header."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.documents import MAX_RECORD_BYTES, Document, in_pieces
from data_prep.streams import BOM, Span, decode, open_span
from pipeline.errors import DataError


@dataclass(frozen=True, slots=True)
class Columns:
    """Which fields of a record are read; `label` None reads no label."""

    text: str
    label: str | None


def read_jsonl(span: Span, columns: Columns) -> Iterator[Document]:
    """One JSON object a line; empty lines are skipped.

    Raises:
        DataError: a line is no JSON object, lacks a field, or is over the limit.
    """
    path = span.file.path
    for offset, line in _lines(span):
        if line.isspace():
            continue
        place = f"{path}: offset {offset}"
        text = decode(line, path, offset)
        try:
            record = json.loads(text)
        except ValueError as exc:
            position, why = 0, str(exc)
            if isinstance(exc, json.JSONDecodeError):
                position, why = exc.pos, exc.msg
            where = offset + len(text[:position].encode())
            msg = f"{path}: offset {where}: not a JSON object a line: {why}"
            raise DataError(msg) from exc
        except RecursionError as exc:
            msg = f"{place}: JSON nested too deeply"
            raise DataError(msg) from exc
        if not isinstance(record, dict):
            msg = f"{place}: a {type(record).__name__}, not a JSON object"
            raise DataError(msg)
        yield from _document(record, columns, place)


def read_separated(span: Span, columns: Columns, delimiter: str) -> Iterator[Document]:
    """Records in the CSV dialect of spreadsheets (RFC 4180): quoted fields may hold line ends.

    Raises:
        DataError: no header, a field is missing, too many fields, or a record is over the limit.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)
    place = _Place(span)
    reader = csv.reader(place.lines(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            where = f"{span.file.path}: line {place.record_line}, offset {place.record_offset}"
            place.next_record()
            if not row:
                continue
            if header is None:
                header = row
                continue
            if len(row) != len(header):
                msg = f"{where}: {len(row)} fields, but the header has {len(header)}"
                raise DataError(msg)
            yield from _document(dict(zip(header, row, strict=True)), columns, where)
    except csv.Error as exc:
        msg = f"{span.file.path}: line {place.record_line}, offset {place.record_offset}: {exc}"
        raise DataError(msg) from exc


class _Place:
    """Feeds lines to the csv module and knows where the record began that it is reading."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._line = 1
        self._offset = span.start
        self.record_line = 1
        self.record_offset = span.start

    def lines(self) -> Iterator[str]:
        for offset, line in _lines(self._span):
            self._line += 1
            self._offset = offset + len(line)
            yield decode(line, self._span.file.path, offset)

    def next_record(self) -> None:
        self.record_line = self._line
        self.record_offset = self._offset


def _lines(span: Span) -> Iterator[tuple[int, bytes]]:
    """(offset, line with its end) of a span.

    Raises:
        DataError: a line is over the limit.
    """
    offset = span.start
    with open_span(span) as stream:
        while span.stop is None or offset < span.stop:
            line = stream.readline(MAX_RECORD_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_RECORD_BYTES:
                msg = (
                    f"{span.file.path}: offset {offset}: a line over {MAX_RECORD_BYTES >> 20} MiB, "
                    "hardly a record. Is the format right?"
                )
                raise DataError(msg)
            skipped = len(BOM) if offset == 0 and line.startswith(BOM) else 0
            yield offset + skipped, line[skipped:]
            offset += len(line)


def _document(record: Mapping[str, Any], columns: Columns, place: str) -> Iterator[Document]:
    text = _field(record, columns.text, "text_column", place)
    if not isinstance(text, str):
        msg = f"{place}: field {columns.text!r} is a {type(text).__name__}, not text"
        raise DataError(msg)
    if not (text.isascii() or _is_unicode(text)):
        msg = f"{place}: field {columns.text!r} holds half a surrogate pair, which is no character"
        raise DataError(msg)
    label = None
    if columns.label is not None:
        value = _field(record, columns.label, "label_column", place)
        if not isinstance(value, str | int):
            msg = f"{place}: field {columns.label!r} is a {type(value).__name__}, not a class"
            raise DataError(msg)
        label = str(value)
    return in_pieces(text, label)


def _is_unicode(text: str) -> bool:
    r"""JSON can spell "\ud800", which is no character and cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _field(record: Mapping[str, Any], name: str, option: str, place: str) -> object:
    if name not in record:
        msg = (
            f"{place}: no field {name!r}; it has {', '.join(map(str, record))}. "
            f"Name the field with {option}."
        )
        raise DataError(msg)
    return record[name]
