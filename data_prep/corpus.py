"""The documents of a stage: which files, cut into units of work, and each unit read in turn."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.config import DocumentsConfig
from data_prep.documents import CHUNK_CHARACTERS, Document
from data_prep.plain import read_blank_line_separated, read_file, read_small_file
from data_prep.records import Columns, read_jsonl, read_separated
from data_prep.stdlib import docstrings, stdlib_files
from data_prep.streams import COMPRESSED_SUFFIXES, Span, is_compressed
from pipeline.errors import DataError
from pipeline.storage.sources import SourceFile, open_source, source_files

logger = logging.getLogger(__name__)

_RECORD_FORMATS = ("jsonl", "csv", "tsv")
_RECORD_SUFFIXES = tuple(
    f".{kind}{compressed}" for kind in _RECORD_FORMATS for compressed in ("", *COMPRESSED_SUFFIXES)
)
_SCAN_BYTES = 1 << 20
_LINE_END = re.compile(rb"\n")
_BLANK_LINE = re.compile(rb"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of work: consecutive parts of files, all of one split."""

    split: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Labelling:
    """Where labels come from: nowhere, the file's folder, or a column."""

    from_folder: bool = False
    column: str | None = None


def corpus_files(source: str | Path | None) -> list[SourceFile]:
    """The files of a source (None: the standard library), sorted by name.

    Raises:
        DataError: there are none.
    """
    if source is None:
        return stdlib_files()
    files = source_files(str(source))
    if not files:
        msg = f"{source}: no files there, so the corpus is empty"
        raise DataError(msg)
    return files


def cut_units(
    config: DocumentsConfig, files: Iterable[SourceFile], split: str, unit_bytes: int
) -> list[Unit]:
    """Cuts files into units of about `unit_bytes` as they lie on disk.

    The cuts depend on the files and `unit_bytes` alone. A large file is cut between documents
    where that is possible without reading it: uncompressed, local, in lines that stand alone.
    """
    units: list[Unit] = []
    spans: list[Span] = []
    room = unit_bytes
    for span in _splittable(config, files, unit_bytes):
        spans.append(span)
        room -= (span.file.size if span.stop is None else span.stop) - span.start
        if room <= 0:
            units.append(Unit(split, tuple(spans)))
            spans, room = [], unit_bytes
    if spans and all(span.file.size == 0 for span in spans) and units:
        # Empty files at the end would be a unit without a document, which is an error.
        units[-1] = Unit(split, units[-1].spans + tuple(spans))
    elif spans:
        units.append(Unit(split, tuple(spans)))
    return units


def read_spans(
    config: DocumentsConfig, spans: Sequence[Span], labelling: Labelling
) -> Iterator[tuple[Span, Document]]:
    """All documents of some spans, each with the span it is from.

    Documents under `min_characters` are left out; one warning says how many.

    Raises:
        DataError: bad data; names file and offset.
    """
    num_short = 0
    for span in spans:
        continues = False
        for document in _read(config, span, labelling):
            short = len(document.text) < config.min_characters
            if short and document.ends and not continues:
                num_short += 1
                continue
            continues = not document.ends
            yield span, document
    if num_short:
        first = spans[0].file.path
        limit = config.min_characters
        logger.warning(
            "left out %d documents under %d characters, from %s on", num_short, limit, first
        )


def folder_label(file: SourceFile) -> str:
    """The name of the folder a file lies in; for stdlib files `docstrings` gives the label.

    Only folders below the source count. Where the source lies is in no key, so it may not matter.

    Raises:
        DataError: the file lies at the root of its source.
    """
    folders = file.name.split("/")[:-1]
    if not folders:
        msg = (
            f"{file.path}: lies in no folder of its source, so nothing says its label; name the "
            "folder above the class folders, or a pattern such as train/[np]*/*.txt"
        )
        raise DataError(msg)
    return folders[-1]


def file_format(config: DocumentsConfig, file: SourceFile) -> str:
    """How a file is read: text, jsonl, csv, tsv or stdlib."""
    if config.format != "auto":
        return config.format
    if not file.name.endswith(_RECORD_SUFFIXES):
        return "text"
    return next(kind for kind in _RECORD_FORMATS if f".{kind}" in file.name[-len(".jsonl.zst") :])


def _read(config: DocumentsConfig, span: Span, labelling: Labelling) -> Iterable[Document]:
    kind = file_format(config, span.file)
    from_folder = labelling.from_folder and kind != "stdlib"
    label = folder_label(span.file) if from_folder else None
    columns = Columns(config.text_column, labelling.column)
    match kind:
        case "stdlib":
            return docstrings(span.file)
        case "jsonl":
            documents = read_jsonl(span, columns)
        case "csv" | "tsv":
            documents = read_separated(span, columns, "," if kind == "csv" else "\t")
        case _ if labelling.column is not None:
            msg = f"{span.file.path}: plain text has no column {labelling.column!r}"
            raise DataError(msg)
        case _ if config.document == "blank_line":
            documents = read_blank_line_separated(span, label)
        case _ if span.file.size < CHUNK_CHARACTERS and not (
            span.file.is_remote or is_compressed(span.file.name)
        ):
            return (read_small_file(span.file, label),)
        case _:
            documents = read_file(span, label)
    if label is not None and kind != "text":
        return (Document(piece.text, label, piece.ends) for piece in documents)
    return documents


def _splittable(
    config: DocumentsConfig, files: Iterable[SourceFile], unit_bytes: int
) -> Iterator[Span]:
    for file in files:
        kind = file_format(config, file)
        lines = kind == "jsonl" or (kind == "text" and config.document == "blank_line")
        if lines and file.size > unit_bytes and not (file.is_remote or is_compressed(file.name)):
            yield from _cut(file, unit_bytes, _LINE_END if kind == "jsonl" else _BLANK_LINE)
        else:
            yield Span(file)


def _cut(file: SourceFile, unit_bytes: int, boundary: re.Pattern[bytes]) -> Iterator[Span]:
    start = 0
    while file.size - start > unit_bytes:
        stop = _next_boundary(file, start + unit_bytes, boundary)
        if stop is None:
            break
        yield Span(file, start, stop)
        start = stop
    if start < file.size:
        yield Span(file, start, file.size)


def _next_boundary(file: SourceFile, position: int, boundary: re.Pattern[bytes]) -> int | None:
    """The first place at or after `position` where one document has ended; None: the file's end."""
    with open_source(file.path) as stream:
        stream.seek(position)
        seen = b""
        while block := stream.read(_SCAN_BYTES):
            if match := boundary.search(seen + block):
                return position + match.end()
            position += len(seen) + len(block)
            # A blank line may lie across two blocks.
            seen = (seen + block)[-64:]
            position -= len(seen)
    return None
