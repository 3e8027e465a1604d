"""A store in a local or mounted folder."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from pipeline.storage.backend import Backend, FileInfo
from pipeline.storage.files import create_file, place, replace_file, sync_folder, temporary_name

TMP = "tmp"
"""Where half-written files and half-removed folders are; never part of a key that anyone reads.

One folder for all of them, so that listings stay clean and a crash leaves its rest in one place.
"""


class LocalFolder(Backend):
    """Files below `root`, which is made by the first write."""

    foreign = (OSError,)

    def __init__(self, root: Path) -> None:
        """`root` is absolute."""
        self._root = root
        self._tmp = root / TMP

    @override
    def read(self, key: str) -> bytes:
        try:
            return (self._root / key).read_bytes()
        except (NotADirectoryError, IsADirectoryError):
            # An object store has no folders: "a" and "a/b" are just different names.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key) from None

    @override
    def write(self, key: str, data: bytes, *, durable: bool) -> None:
        replace_file(self._root / key, data, tmp=self._tmp, durable=durable)

    @override
    def create(self, key: str, data: bytes, *, durable: bool) -> bool:
        return create_file(self._root / key, data, tmp=self._tmp, durable=durable)

    @override
    def info(self, key: str) -> FileInfo | None:
        path = self._root / key
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not path.is_file():
            return None
        return FileInfo(found.st_size, found.st_mtime)

    @override
    def children(self, prefix: str) -> list[str]:
        try:
            names = os.listdir(self._root / prefix)  # noqa: PTH208 - Path.iterdir makes a Path a name
        except (FileNotFoundError, NotADirectoryError):
            return []
        return names if prefix else [name for name in names if name != TMP]

    @override
    def walk(self, prefix: str) -> Mapping[str, FileInfo]:
        found = _files_below(self._root / prefix, "")
        if prefix:
            return dict(found)
        return {name: info for name, info in found if not name.startswith(f"{TMP}/")}

    @override
    def remove(self, key: str) -> None:
        try:
            (self._root / key).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return

    @override
    def remove_tree(self, prefix: str) -> None:
        # Out of sight in one step first: a crash must not leave half a tree that looks whole.
        doomed = self._tmp / f"removed-{uuid.uuid4().hex}"
        try:
            (self._root / prefix).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            place(self._root / prefix, doomed, durable=False)
        except FileNotFoundError:
            return  # another process removed it first
        try:
            if doomed.is_dir() and not doomed.is_symlink():
                shutil.rmtree(doomed)
            else:
                doomed.unlink()
        except FileNotFoundError:
            return  # an eviction sweeps `tmp/` at the same time

    @override
    def touch(self, key: str) -> None:
        os.utime(self._root / key)

    @override
    def local_path(self, key: str) -> Path | None:
        return self._root / key

    @override
    def upload(self, path: Path, key: str) -> None:
        source = temporary_name(self._tmp, path.name)
        self._tmp.mkdir(parents=True, exist_ok=True)
        try:
            _copy_durably(path, source)
            place(source, self._root / key)
        except BaseException:
            source.unlink(missing_ok=True)
            raise

    @override
    def download(self, key: str, path: Path) -> None:
        source = self._root / key
        if not source.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        shutil.copyfile(source, path)

    @override
    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        for source, target in pairs:
            self.upload(self._root / source, target)

    @override
    def move_tree(self, source: str, target: str) -> bool:
        try:
            place(self._root / source, self._root / target)
        except OSError as exc:
            if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        sync_folder((self._root / source).parent)
        return True


def _files_below(folder: Path, prefix: str) -> Iterator[tuple[str, FileInfo]]:
    """Files of a tree that others may be changing: what vanishes meanwhile is left out."""
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), f"{name}/")
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield name, FileInfo(found.st_size, found.st_mtime)


def _copy_durably(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
