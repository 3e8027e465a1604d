"""The image files of a source: in folders, behind URLs, or inside archives, read where they lie."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import DataError
from pipeline.storage.digests import sha256_bytes
from pipeline.storage.members import ARCHIVE_SUFFIXES, ArchiveMember, OpenArchive
from pipeline.storage.sources import SourceFile, open_source, source_files

IMAGE_NAMES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff")
"""Endings of names that are taken for images, in any case; other files are none."""

MAX_FILE_BYTES = 1 << 28
"""A larger file, or member of an archive, is refused before it is read."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file.

    Attributes:
        name: relative to its source; folders first, "/" between.
        size: bytes.
        place: where its bytes are.
    """

    name: str
    size: int
    place: SourceFile | tuple[OpenArchive, ArchiveMember]

    @property
    def path(self) -> str:
        """What errors call it."""
        if isinstance(self.place, SourceFile):
            return self.place.path
        archive, member = self.place
        return f"{archive.path}: member {member.name}"

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DataError: it lies in a damaged archive, or is too large to be an image.
            OSError: it cannot be read.
        """
        if self.size > MAX_FILE_BYTES:
            msg = f"{self.path}: {self.size} bytes; an image of over {MAX_FILE_BYTES} is refused"
            raise DataError(msg)
        if isinstance(self.place, SourceFile):
            with open_source(self.place.path) as file:
                return file.read()
        archive, member = self.place
        return archive.read(member)


def image_files(source: str | Path, scratch: Path) -> list[ImageFile]:
    """The files of a source that are called like images, in the order of their names.

    Args:
        source: folder, file, pattern or URL.
        scratch: folder for archives that must be fetched or decompressed to be read.

    Raises:
        DataError: there are none, or an archive is damaged.
    """
    files = source_files(str(source))
    found: list[ImageFile] = []
    for file in files:
        if file.name.lower().endswith(ARCHIVE_SUFFIXES):
            # Beside other files an archive is a folder of its name, as if unpacked there.
            folder = "" if len(files) == 1 else _without_suffix(file.name) + "/"
            found += _in_archive(file, folder, scratch)
        elif _is_image(file.name):
            found.append(ImageFile(file.name, file.size, file))
    if not found:
        msg = (
            f"{source}: none of its {len(files)} files is an image or an archive of images; "
            f"images end in {' '.join(IMAGE_NAMES)}"
        )
        raise DataError(msg)
    return sorted(found, key=lambda image: image.name)


def _in_archive(file: SourceFile, folder: str, scratch: Path) -> Iterator[ImageFile]:
    # Two archives of one name, in two folders, must not meet in scratch.
    own = scratch / sha256_bytes(file.path.encode())[:16]
    own.mkdir(parents=True, exist_ok=True)
    path = Path(file.path)
    if file.is_remote:
        path = own / PurePosixPath(file.name).name
        with open_source(file.path) as remote, path.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    archive = OpenArchive(path, own)
    for member in archive.members:
        hidden = any(part.startswith(".") for part in member.name.split("/"))
        if _is_image(member.name) and not hidden:
            yield ImageFile(folder + member.name, member.size, (archive, member))


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_NAMES)


def _without_suffix(name: str) -> str:
    lower = name.lower()
    longest = max((s for s in ARCHIVE_SUFFIXES if lower.endswith(s)), key=len)
    return name[: -len(longest)]
