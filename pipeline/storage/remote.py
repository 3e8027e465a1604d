"""A store on any file system that fsspec knows: S3, Google Cloud Storage, Azure, memory."""

import datetime
import difflib
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import override

from pipeline.storage.backend import Backend, FileInfo

_MODIFIED_FIELDS = ("LastModified", "last_modified", "mtime", "updated", "created")
_CONFLICT_TRIES = 4
_CONFLICT_PAUSE_SECONDS = 0.1


def unknown_protocol(url: str) -> str | None:
    """The part of a URL that no file system is known for, with a guess; None when all are known."""
    # Deferred: 90 ms that a local store never needs.
    import fsspec  # noqa: PLC0415 - see above

    known = fsspec.available_protocols()
    for protocol in url.partition("://")[0].split("::"):
        if protocol not in known:
            guess = difflib.get_close_matches(protocol, known, n=1)
            return f"{protocol!r}" + (f"; did you mean {guess[0]}?" if guess else "")
    return None


class ObjectFolder(Backend):
    """Objects below a URL. Their names are final when they appear: an object store has no halves.

    The file system object is made on first use: planning without a store must not load its client.
    """

    # The clients raise what their transport raises; whatever comes out of them is their failure.
    foreign = (Exception,)

    def __init__(self, url: str) -> None:
        """`url` has a protocol that fsspec knows."""
        self._url = url

    @cached_property
    def _where(self) -> tuple[Any, str]:
        # Deferred: 90 ms that a local store never needs.
        import fsspec.core  # noqa: PLC0415 - see above

        # Listings must see what other processes wrote a moment ago.
        fs, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        return fs, root.rstrip("/")

    def _path(self, key: str) -> str:
        root = self._where[1]
        return f"{root}/{key}" if key else root

    @override
    def read(self, key: str) -> bytes:
        fs = self._where[0]
        # s3fs asks for the size first, to read large objects in pieces; these are small.
        options = {"max_concurrency": 1} if "s3" in fs.protocol else {}
        data: bytes = fs.cat_file(self._path(key), **options)
        return data

    @override
    def write(self, key: str, data: bytes, *, durable: bool) -> None:
        self._where[0].pipe_file(self._path(key), data)

    @override
    def create(self, key: str, data: bytes, *, durable: bool) -> bool:
        for attempt in range(_CONFLICT_TRIES):
            try:
                self._where[0].pipe_file(self._path(key), data, mode="create")
            except FileExistsError:
                return False
            except OSError as exc:
                # s3fs has no exception of its own for a condition that does not hold.
                if self.info(key) is not None:
                    return False
                if not _is_conflict(exc) or attempt == _CONFLICT_TRIES - 1:
                    raise
                time.sleep(_CONFLICT_PAUSE_SECONDS * 2**attempt)
            else:
                return True
        return False

    @override
    def info(self, key: str) -> FileInfo | None:
        try:
            found = self._where[0].info(self._path(key))
        except FileNotFoundError:
            return None
        return _info(found) if found["type"] == "file" else None

    @override
    def children(self, prefix: str) -> list[str]:
        folder = self._path(prefix)
        try:
            found = self._where[0].ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {str(path).rstrip("/").rsplit("/", 1)[1] for path in found if path != folder}
        return sorted(names)

    @override
    def walk(self, prefix: str) -> Mapping[str, FileInfo]:
        folder = self._path(prefix)
        try:
            found = self._where[0].find(folder, detail=True)
        except FileNotFoundError:
            return {}
        start = len(folder) + 1
        return {path[start:]: _info(info) for path, info in found.items() if len(path) > start}

    @override
    def remove(self, key: str) -> None:
        try:
            self._where[0].rm_file(self._path(key))
        except FileNotFoundError:
            return

    @override
    def remove_tree(self, prefix: str) -> None:
        names = [f"{self._path(prefix)}/{name}" for name in self.walk(prefix)]
        if names:
            self._where[0].rm(names)

    @override
    def touch(self, key: str) -> None:
        self.write(key, self.read(key), durable=True)

    @override
    def local_path(self, key: str) -> Path | None:
        return None

    @override
    def upload(self, path: Path, key: str) -> None:
        self._where[0].put_file(str(path), self._path(key))

    @override
    def download(self, key: str, path: Path) -> None:
        self._where[0].get_file(self._path(key), str(path))

    @override
    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        sources = [self._path(source) for source, _ in pairs]
        targets = [self._path(target) for _, target in pairs]
        if sources:
            self._where[0].copy(sources, targets, on_error="raise")

    @override
    def move_tree(self, source: str, target: str) -> bool:
        if self.walk(target):
            return False
        names = self.walk(source)
        if not names:
            raise FileNotFoundError(source)
        self.copy([(f"{source}/{name}", f"{target}/{name}") for name in names])
        self.remove_tree(source)
        return True


def _info(found: Mapping[str, Any]) -> FileInfo:
    value = next((found[name] for name in _MODIFIED_FIELDS if found.get(name) is not None), 0.0)
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime):
        value = value.timestamp()
    return FileInfo(int(found["size"] or 0), float(value))


def _is_conflict(exc: OSError) -> bool:
    """Whether S3 said 409: another conditional write of the same key was on its way."""
    cause = exc.__cause__ or exc
    response = getattr(cause, "response", None) or {}
    return bool(response.get("Error", {}).get("Code") == "ConditionalRequestConflict")
