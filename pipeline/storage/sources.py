"""Raw input, named by a path, a glob or a URL: which files it is, and their bytes."""

import glob
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from pipeline.errors import StoreError
from pipeline.storage.failures import cause_and_fix, redact

_MAGIC = "*?["
_VERSION_KEYS = (
    *("ETag", "etag", "md5Hash", "Content-MD5"),  # of S3 and HTTP, GCS and Azure, GCS, HTTP
    *("LastModified", "last_modified", "updated", "Last-Modified", "mtime", "created"),
)


class SourceFile(NamedTuple):
    """One file of a source.

    Attributes:
        name: relative to the folder, or to the part of a glob that has no wildcard; "/" between.
        path: absolute local path, or URL.
        size: bytes.
        version: another one when the content is another: size, time and inode of a local file,
            tag or time of a remote one; "" when the place tells neither.
        mtime_ns: when a local file was last written, Unix; 0 for a remote one.
    """

    name: str
    path: str
    size: int
    version: str = ""
    mtime_ns: int = 0

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
    except failures(source) as exc:
        raise source_failure(source, exc) from exc


def failures(source: str) -> tuple[type[Exception], ...]:
    """What may be raised when a source is listed or read: the clients of URLs raise anything."""
    return (Exception,) if is_url(source) else (OSError,)


def source_failure(source: str, exc: Exception) -> StoreError:
    """The StoreError for one of `failures`: "source NAME: cause. Fix."."""
    cause, fix = cause_and_fix(exc)
    return StoreError(f"source {redact(source)}: {cause}. {fix}")


def open_source(path: str) -> BinaryIO:
    """Opens a `SourceFile.path` for reading; a URL is read in ranges as needed.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_url(path):
        return open(path, "rb")  # noqa: PTH123 - a Path costs as much as opening the file
    # Deferred: 90 ms that local input never needs.
    import fsspec.core  # noqa: PLC0415 - see above

    fs, inner = fsspec.core.url_to_fs(path)
    return cast("BinaryIO", fs.open(inner, "rb"))


def _local_files(source: str) -> Iterator[SourceFile]:
    # Strings, not Path: a source may be a million small files, and a Path costs more than a stat.
    path = os.path.abspath(source)  # noqa: PTH100 - as written, links unresolved
    if Path(path).is_file():
        yield _local(os.path.basename(path), path, os.stat(path))  # noqa: PTH116, PTH119
    elif Path(path).is_dir():
        yield from _below(path, "")
    elif any(sign in source for sign in _MAGIC):
        skip = len(_fixed_part(path).rstrip("/")) + 1
        for match in glob.iglob(path, recursive=True):  # noqa: PTH207 - takes absolute patterns
            status = os.stat(match)  # noqa: PTH116 - see above
            if stat.S_ISREG(status.st_mode):
                yield _local(match[skip:], match, status)


def _below(folder: str, prefix: str) -> Iterator[SourceFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield _local(prefix + entry.name, entry.path, entry.stat())


def _local(name: str, path: str, status: os.stat_result) -> SourceFile:
    size, mtime_ns = status.st_size, status.st_mtime_ns
    return SourceFile(name, path, size, f"{size}:{mtime_ns}:{status.st_ino}", mtime_ns)


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
            size = int(info["size"] or 0)
            yield SourceFile(relative, fs.unstrip_protocol(name), size, _version(info))


def _version(info: Mapping[str, Any]) -> str:
    """Made of what the file system's listing says beside the name; each calls it otherwise."""
    found = next((info[key] for key in _VERSION_KEYS if info.get(key)), None)
    return "" if found is None else f"{info['size']}:{found}"


def _fixed_part(pattern: str) -> str:
    """The folders of a glob before its first wildcard."""
    parts = pattern.split("/")
    for i, part in enumerate(parts):
        if any(sign in part for sign in _MAGIC):
            return "/".join(parts[:i]) or ("/" if pattern.startswith("/") else ".")
    return pattern
