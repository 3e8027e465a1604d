"""The files inside an archive, each read where it lies: nothing is unpacked."""

import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pipeline.errors import DataError
from pipeline.storage.archives import checked_name, damage_is_bad_data, refuse_member
from pipeline.storage.compression import compression_of, decompressed

ARCHIVE_SUFFIXES = (
    *(".tar", ".zip", ".tgz", ".tbz2", ".txz"),
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"),
)
"""Names of files that are taken for archives."""

_BITE = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A plain file in an archive.

    Attributes:
        name: relative, "/" between the folders.
        size: bytes of its content.
        offset: where it begins in a tar; None in a zip.
    """

    name: str
    size: int
    offset: int | None


class OpenArchive:
    """A local zip or tar of which any member can be read; safe for several threads.

    A compressed tar is first decompressed, as a stream, into one file in `scratch`. Links, devices,
    encrypted members, names that lead outside and names that occur twice are refused, as
    `extract_archive` refuses them.

    Attributes:
        path: the archive.
        members: its files in its order.

    Raises:
        DataError: the archive is damaged, cut off, or holds a member that is refused.
        OSError: it cannot be read, or `scratch` is full.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._lock = Lock()
        with damage_is_bad_data(path):
            if zipfile.is_zipfile(path) and not tarfile.is_tarfile(path):
                self._zip = zipfile.ZipFile(path)
                self._tar = path
                found = _zip_members(path, self._zip)
            else:
                self._tar = _plain_tar(path, scratch)
                found = _tar_members(path, self._tar)
        names = [member.name for member in found]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            msg = f"{path}: member {twice!r} occurs twice. Build the archive anew."
            raise DataError(msg)
        self.members = found

    def read(self, member: ArchiveMember) -> bytes:
        """A member's content.

        Raises:
            DataError: it is damaged or cut off.
        """
        with damage_is_bad_data(self.path):
            if self._zip is not None:
                with self._lock:
                    return self._zip.read(member.name)
            with self._tar.open("rb") as file:
                file.seek(member.offset or 0)
                data = file.read(member.size)
        if len(data) < member.size:
            msg = f"{self.path}: member {member.name!r} is cut off. Fetch the archive again."
            raise DataError(msg)
        return data


def _plain_tar(path: Path, scratch: Path) -> Path:
    with path.open("rb") as file:
        kind = compression_of(file)
        if kind is None:
            return path
        target = scratch / f"{path.name}.plain.tar"
        with decompressed(file, kind) as stream, target.open("wb") as plain:
            while data := stream.read(_BITE):
                plain.write(data)
    return target


def _tar_members(archive: Path, path: Path) -> list[ArchiveMember]:
    found = []
    size = path.stat().st_size
    with tarfile.open(path, mode="r:") as tar:
        for member in tar:
            name = checked_name(archive, member.name)
            if member.isdir() or not name:
                continue
            if not member.isreg() or member.issparse():
                refuse_member(archive, member.name, "a link, sparse or a special file")
            if member.offset_data + member.size > size:
                msg = f"{archive}: member {member.name!r} is cut off. Fetch the archive again."
                raise DataError(msg)
            found.append(ArchiveMember(name, member.size, member.offset_data))
    with path.open("rb") as file:
        file.seek(max(0, size - tarfile.BLOCKSIZE))
        if any(file.read()):
            # tarfile takes the end of the data for the end of the archive.
            msg = f"{archive}: ends without the end-of-archive mark; cut off? Fetch it again."
            raise DataError(msg)
    return found


def _zip_members(archive: Path, file: zipfile.ZipFile) -> list[ArchiveMember]:
    found = []
    for member in file.infolist():
        name = checked_name(archive, member.filename)
        mode = member.external_attr >> 16
        if member.is_dir() or not name:
            continue
        if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
            refuse_member(archive, member.filename, "a link or a special file")
        if member.flag_bits & 0x1:
            refuse_member(archive, member.filename, "encrypted")
        if name != member.filename:
            refuse_member(archive, member.filename, "not named plainly")
        found.append(ArchiveMember(name, member.file_size, None))
    return found
