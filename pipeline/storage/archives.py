"""Unpacks archives that nobody vouches for: only plain files, only inside the folder."""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from typing_extensions import Buffer, override

from pipeline.errors import DataError
from pipeline.storage.keys import check_key

_ZIP_MAGIC = b"PK\x03\x04"
_COMPRESSIONS = {
    b"\x1f\x8b": "gz",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
}
_TAR_BLOCK = 512
_ZSTD_BITE = 1 << 12
"""Compressed bytes at a time: they can stand for at most 128 MiB, a hostile file for no more."""


def extract_archive(archive: Path, folder: Path) -> list[str]:
    """Unpacks a zip or a tar (plain, gz, bz2, xz, zst; told by content, not by name).

    A member must be a plain file or a folder with a relative name that stays inside; links,
    devices, pipes and encrypted members are refused, as is a name that occurs twice. Modes, owners
    and times of the archive are not taken over. What was unpacked before the refusal stays.

    Args:
        archive: the file.
        folder: where to; made when absent.

    Returns:
        Names of the files relative to `folder`, in the archive's order.

    Raises:
        DataError: the archive is damaged, cut off, or holds a member that is refused.
        OSError: the archive cannot be read, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with archive.open("rb") as file:
        is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    members = _zip_members(archive) if is_zip else _tar_members(archive)
    names: dict[str, None] = {}
    with _damage_is_bad_data(archive):
        for member, source in members:
            name = _checked_name(archive, member)
            if source is None or not name:
                (folder / name).mkdir(parents=True, exist_ok=True)
                continue
            if name in names:
                msg = f"{archive}: member {name!r} occurs twice. Build the archive anew."
                raise DataError(msg)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            names[name] = None
    return list(names)


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """A file's content as a stream, decompressed when it is gz, bz2, xz or zst by its content.

    Raises:
        DataError: while reading, when the compressed data is damaged or cut off.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, _damage_is_bad_data(path):
        yield _decompressed(file)


def _decompressed(file: BinaryIO) -> BinaryIO:
    start = file.read(8)
    file.seek(0)
    kind = next((kind for magic, kind in _COMPRESSIONS.items() if start.startswith(magic)), "")
    if kind == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
    if kind == "bz2":
        return cast("BinaryIO", bz2.BZ2File(file))
    if kind == "xz":
        return cast("BinaryIO", lzma.LZMAFile(file))
    if kind == "zst":
        return cast("BinaryIO", io.BufferedReader(_ZstdReader(file), 1 << 20))
    return file


def _tar_members(archive: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    with archive.open("rb") as file:
        stream = _TailKeeper(_decompressed(file))
        with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as tar:
            for member in tar:
                if member.isdir():
                    yield member.name, None
                    continue
                if not member.isreg():
                    kind = "a link" if member.islnk() or member.issym() else "a special file"
                    _refuse(archive, member.name, kind)
                yield member.name, cast("BinaryIO", tar.extractfile(member))
        stream.drain()
        if any(stream.tail):
            # tarfile takes the end of the data for the end of the archive.
            msg = f"{archive}: ends without the end-of-archive mark; cut off? Fetch it again."
            raise DataError(msg)


def _zip_members(archive: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            mode = member.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or not stat.S_IFMT(mode)):
                _refuse(archive, member.filename, "a link or a special file")
            if member.flag_bits & 0x1:
                _refuse(archive, member.filename, "encrypted")
            if member.is_dir():
                yield member.filename, None
                continue
            with file.open(member) as source:
                yield member.filename, cast("BinaryIO", source)


def _checked_name(archive: Path, member: str) -> str:
    """The member's name below the folder; "" for the folder itself."""
    name = member.removeprefix("./").rstrip("/")
    if name in ("", "."):
        return ""
    try:
        check_key(name)
    except ValueError:
        _refuse(archive, member, "outside the folder, or not a name")
    if "\\" in name or ":" in name.split("/", maxsplit=1)[0]:
        _refuse(archive, member, "named in a way that other systems read as another folder")
    return name


def _refuse(archive: Path, member: str, what: str) -> None:
    msg = (
        f"{archive}: member {member!r} is {what}. Only plain files and folders inside the "
        "archive's own tree are unpacked; unpack it yourself if you trust it, and name the folder."
    )
    raise DataError(msg)


@contextmanager
def _damage_is_bad_data(path: Path) -> Iterator[None]:
    import zstandard  # noqa: PLC0415 - deferred: a compiled library that most runs never need

    damages = (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        zstandard.ZstdError,
        EOFError,
        RuntimeError,  # what zipfile raises for a compression it does not know
        FileExistsError,
        NotADirectoryError,
    )
    try:
        yield
    except damages as exc:
        msg = f"{path}: damaged or not an archive we read: {exc}. Fetch it again."
        raise DataError(msg) from exc


class _TailKeeper:
    """Passes reads on and remembers the last tar block of the stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tail = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.tail = (self.tail + data)[-_TAR_BLOCK:]
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass


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
