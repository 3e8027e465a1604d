"""Opens a span of an input file as a stream of bytes, decompressed, with errors that name it."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, BinaryIO, NamedTuple, cast

import zstandard
from typing_extensions import Buffer, override

from pipeline.errors import DataError
from pipeline.storage.sources import SourceFile, open_source

_DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, zstandard.ZstdError)
_ZSTD_BLOCK = 1 << 12  # of hostile data a block can hold 128 MB, so not more
BOM = b"\xef\xbb\xbf"
"""A UTF-8 byte order mark: some programs begin a file with it; it is no part of the text."""

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


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
            if is_compressed(span.file.name):
                with _decompressed(span.file.name, raw) as stream:
                    yield stream
            else:
                raw.seek(span.start)
                yield raw
        except _DAMAGE as exc:
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


def _decompressed(name: str, raw: BinaryIO) -> IO[bytes]:
    match PurePosixPath(name).suffix:
        case ".gz":
            return cast("IO[bytes]", gzip.open(raw))
        case ".bz2":
            return bz2.open(raw)
        case ".xz":
            return lzma.open(raw)
        case _:
            return io.BufferedReader(_ZstdStream(raw), 1 << 17)


class _ZstdStream(io.RawIOBase):
    """Zstandard frames as a stream that, unlike the library's reader, notices a missing end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started = False
        self._ready = memoryview(b"")

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        while not self._ready:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._raw.read(1 << 17)
            if not data:
                if self._started and not self._frame.eof:
                    msg = "the last zstd frame has no end"
                    raise EOFError(msg)
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._started = True
            self._ready = memoryview(self._frame.decompress(data))
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
