"""Compressed files as streams; damage and a missing end are errors, for every compression."""

import bz2
import gzip
import io
import lzma
import zlib
from typing import BinaryIO, Literal, cast

from typing_extensions import Buffer, override

Compression = Literal["gz", "bz2", "xz", "zst"]
_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gz",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
}
_ZSTD_BITE = 1 << 12
"""Compressed bytes at a time: they can stand for at most 128 MiB, a hostile file for no more."""


def compression_of(file: BinaryIO) -> Compression | None:
    """How a seekable file is compressed, by its content; it is at its beginning before and after."""
    start = file.read(8)
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def decompressed(file: BinaryIO, kind: Compression | None) -> BinaryIO:
    """The content of a compressed file as a stream; reading it raises one of `damage_errors`."""
    match kind:
        case "gz":
            return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
        case "bz2":
            return cast("BinaryIO", bz2.BZ2File(file))
        case "xz":
            return cast("BinaryIO", lzma.LZMAFile(file))
        case "zst":
            return cast("BinaryIO", io.BufferedReader(_ZstdReader(file), 1 << 20))
        case None:
            return file


def damage_errors() -> tuple[type[Exception], ...]:
    """What says that compressed data is damaged or cut off.

    Beside these bz2 raises an OSError without a number for it.
    """
    import zstandard  # noqa: PLC0415 - deferred: a compiled library that most runs never need

    return (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, zstandard.ZstdError)


class _ZstdReader(io.RawIOBase):
    """All frames of a zstd file; zstandard's own reader takes a cut for the end."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard  # noqa: PLC0415 - deferred: a compiled library that most runs never need

        super().__init__()
        self._file = file
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._inside = False
        self._compressed = b""
        self._ready = memoryview(b"")

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        while not self._ready:
            if self._frame.eof:
                self._compressed = self._frame.unused_data
                self._frame, self._inside = self._new_frame(), False
            self._compressed = self._compressed or self._file.read(_ZSTD_BITE)
            if not self._compressed:
                if self._inside:
                    msg = "compressed data ended before the end-of-frame mark"
                    raise EOFError(msg)
                return 0
            self._ready = memoryview(self._frame.decompress(self._compressed))
            self._compressed, self._inside = b"", True
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
