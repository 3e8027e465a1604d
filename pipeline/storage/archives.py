"""Unpacks archives that nobody vouches for: only plain files, only inside the folder."""

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from pipeline.errors import DataError
from pipeline.storage.compression import compression_of, damage_errors, decompressed
from pipeline.storage.keys import check_key

_ZIP_MAGIC = b"PK\x03\x04"
_TAR_BLOCK = 512


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
    with damage_is_bad_data(archive):
        for member, source in members:
            name = checked_name(archive, member)
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


def _tar_members(archive: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    with archive.open("rb") as file:
        stream = _TailKeeper(decompressed(file, compression_of(file)))
        with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as tar:
            for member in tar:
                if member.isdir():
                    yield member.name, None
                    continue
                if not member.isreg():
                    kind = "a link" if member.islnk() or member.issym() else "a special file"
                    refuse_member(archive, member.name, kind)
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
                refuse_member(archive, member.filename, "a link or a special file")
            if member.flag_bits & 0x1:
                refuse_member(archive, member.filename, "encrypted")
            if member.is_dir():
                yield member.filename, None
                continue
            with file.open(member) as source:
                yield member.filename, cast("BinaryIO", source)


def checked_name(archive: Path, member: str) -> str:
    """The member's name below the folder; "" for the folder itself.

    Raises:
        DataError: the name leads outside, or is none.
    """
    name = member.removeprefix("./").rstrip("/")
    if name in ("", "."):
        return ""
    try:
        check_key(name)
    except ValueError:
        refuse_member(archive, member, "outside the folder, or not a name")
    if "\\" in name or ":" in name.split("/", maxsplit=1)[0]:
        refuse_member(archive, member, "named in a way that other systems read as another folder")
    return name


def refuse_member(archive: Path, member: str, what: str) -> NoReturn:
    """Raises the DataError for a member that is no plain file inside the archive's tree."""
    msg = (
        f"{archive}: member {member!r} is {what}. Only plain files and folders inside the "
        "archive's own tree are unpacked; unpack it yourself if you trust it, and name the folder."
    )
    raise DataError(msg)


@contextmanager
def damage_is_bad_data(path: Path) -> Iterator[None]:
    """Turns what a damaged archive raises into a DataError that names it."""
    damages: tuple[type[Exception], ...] = (
        *damage_errors(),
        tarfile.TarError,
        zipfile.BadZipFile,
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
