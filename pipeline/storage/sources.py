"""Raw input, named by a path, a glob or a URL: which files it is, and their bytes."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pipeline.errors import StoreError
from pipeline.storage.failures import cause_and_fix, redact

_MAGIC = "*?["


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: relative to the folder, or to the part of a glob that has no wildcard; "/" between.
        path: absolute local path, or URL.
        size: bytes.
    """

    name: str
    path: str
    size: int

    @property
    def is_remote(self) -> bool:
        """Whether `path` is a URL."""
        return is_url(self.path)


def is_url(source: str) -> bool:
    """Whether a source goes through fsspec."""
    return "://" in source


def source_files(source: str) -> list[SourceFile]:
    """The files a source names, sorted by name; empty when there is none.

    A folder means every file below it. Names that begin with a dot, and what lies in folders with
    such names, are left out, as a glob leaves them out. `**` crosses folders.

    Raises:
        StoreError: a folder or URL could not be listed.
    """
    try:
        found = _remote_files(source) if is_url(source) else _local_files(source)
        return sorted(found, key=lambda file: file.name)
    except OSError as exc:
        cause, fix = cause_and_fix(exc)
        msg = f"source {redact(source)}: {cause}. {fix}"
        raise StoreError(msg) from exc


def open_source(path: str) -> BinaryIO:
    """Opens a `SourceFile.path` for reading; a URL is read in ranges as needed.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_url(path):
        return Path(path).open("rb")
    # Deferred: 90 ms that local input never needs.
    import fsspec.core  # noqa: PLC0415 - see above

    fs, inner = fsspec.core.url_to_fs(path)
    return cast("BinaryIO", fs.open(inner, "rb"))


def _local_files(source: str) -> Iterator[SourceFile]:
    path = Path(source)
    if path.is_file():
        yield SourceFile(path.name, os.path.abspath(source), path.stat().st_size)  # noqa: PTH100 - as written, links unresolved
    elif path.is_dir():
        yield from _below(os.path.abspath(source), "")  # noqa: PTH100 - see above
    elif any(sign in source for sign in _MAGIC):
        root = _fixed_part(source)
        for match in glob.iglob(source, recursive=True):  # noqa: PTH207 - takes absolute patterns
            if os.path.isfile(match):  # noqa: PTH113 - a Path for each of 100,000 files is slow
                name = os.path.relpath(match, root).replace(os.sep, "/")
                yield SourceFile(name, os.path.abspath(match), os.stat(match).st_size)  # noqa: PTH100, PTH116 - see above


def _below(folder: str, prefix: str) -> Iterator[SourceFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield SourceFile(prefix + entry.name, entry.path, entry.stat().st_size)


def _remote_files(source: str) -> Iterator[SourceFile]:
    # Deferred: 90 ms that local input never needs.
    import fsspec.core  # noqa: PLC0415 - see above

    fs, path = fsspec.core.url_to_fs(source, use_listings_cache=False)
    if any(sign in path for sign in _MAGIC):
        root = _fixed_part(path)
        found = fs.glob(path, detail=True)
    else:
        found = fs.find(path, detail=True)
        root = path if list(found) != [path] else str(PurePosixPath(path).parent)
    for name, info in found.items():
        relative = name.removeprefix(root.rstrip("/") + "/")
        hidden = any(part.startswith(".") for part in relative.split("/"))
        if info["type"] == "file" and not hidden:
            yield SourceFile(relative, fs.unstrip_protocol(name), int(info["size"] or 0))


def _fixed_part(pattern: str) -> str:
    """The folders of a glob before its first wildcard."""
    parts = pattern.split("/")
    for i, part in enumerate(parts):
        if any(sign in part for sign in _MAGIC):
            return "/".join(parts[:i]) or ("/" if pattern.startswith("/") else ".")
    return pattern
