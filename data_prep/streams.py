"""Opens a span of an input file as a stream of bytes, decompressed, with errors that name it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, NamedTuple

from pipeline.errors import DataError
from pipeline.storage.compression import Compression, damage_errors, decompressed
from pipeline.storage.sources import SourceFile, open_source

BOM = b"\xef\xbb\xbf"
"""A UTF-8 byte order mark: some programs begin a file with it; it is no part of the text."""

_COMPRESSIONS: Mapping[str, Compression] = {
    ".gz": "gz",
    ".bz2": "bz2",
    ".xz": "xz",
    ".zst": "zst",
}
COMPRESSED_SUFFIXES = tuple(_COMPRESSIONS)


class Span(NamedTuple):
    """Bytes `start` to `stop` of a file; `stop` None is its end. Cut between documents only."""

    file: SourceFile
    start: int = 0
    stop: int | None = None


def is_compressed(name: str) -> bool:
    """Whether a file's name says that it is compressed."""
    return name.endswith(COMPRESSED_SUFFIXES)


@contextmanager
def open_span(span: Span) -> Iterator[IO[bytes]]:
    """The bytes of a span, decompressed, at its beginning.

    Raises:
        DataError: the compressed data is damaged or cut off; also while it is read inside `with`.
    """
    with open_source(span.file.path) as raw:
        try:
            kind = _COMPRESSIONS.get(PurePosixPath(span.file.name).suffix)
            if kind is not None:
                with decompressed(raw, kind) as stream:
                    yield stream
            else:
                raw.seek(span.start)
                yield raw
        except damage_errors() as exc:
            msg = f"{span.file.path}: offset {raw.tell()}: damaged or cut off: {exc}"
            raise DataError(msg) from exc
        except OSError as exc:
            # bz2 and gzip report damage so; what the operating system says has a number.
            if exc.errno is not None:
                raise
            msg = f"{span.file.path}: offset {raw.tell()}: damaged or cut off: {exc}"
            raise DataError(msg) from exc


def decode(data: bytes, path: str, offset: int) -> str:
    """UTF-8 to text.

    Args:
        data: the bytes.
        path: named in the error.
        offset: of `data` in the decompressed file.

    Raises:
        DataError: the bytes are not UTF-8; names the offset of the first bad one.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        bad = data[exc.start : exc.start + 1].hex()
        msg = (
            f"{path}: offset {offset + exc.start}: byte 0x{bad} is not UTF-8 ({exc.reason}). "
            "Convert the file, e.g. with iconv -t utf-8."
        )
        raise DataError(msg) from exc
