"""Verified local copies of artifacts: downloaded once a machine, read through once a run."""

import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.cache.manifest import Manifest, check_files
from pipeline.cache.presence import files_key
from pipeline.errors import InputError
from pipeline.storage import Store
from pipeline.storage.digests import digest_of
from pipeline.storage.failures import store_failure
from pipeline.storage.files import make_folder, replace_file

MAX_TRANSFERS = 8
"""Files on their way at one time; an object store is slow a request, not a byte."""

MEND = "`pipeline cache verify` takes what is damaged out of use; the next run makes it again."

_Item = TypeVar("_Item")


class LocalCopies:
    """Opens artifacts as local folders. Safe for several processes that share the folders."""

    def __init__(self, store: Store, cache_folder: Path | None, memo_folder: Path | None) -> None:
        """As in `Artifacts`."""
        self._store = store
        self._cache_folder = cache_folder
        self._memo_folder = memo_folder
        self._opened: dict[str, Path] = {}
        self._mutex = threading.Lock()

    def folder(self) -> Path:
        """The local folder for what an object store cannot hold in place.

        Raises:
            ValueError: none was given.
        """
        if self._cache_folder is None:
            msg = f"store {self._store.url} is not local: Artifacts needs a cache_folder"
            raise ValueError(msg)
        return self._cache_folder

    def open(self, digest: str, manifest: Manifest) -> Path:
        """A folder with the artifact's files, verified once in this process.

        Raises:
            InputError: the store's files differ from the manifest.
            StoreError: the store or the local disk failed.
        """
        with self._mutex:
            if digest not in self._opened:
                local = self._store.local_path(files_key(digest))
                try:
                    if local is None:
                        local = self._fetched(digest, manifest)
                    else:
                        self._verify(digest, local, manifest)
                except OSError as exc:
                    raise store_failure(self._store.url, f"read artifact {digest}", exc) from exc
                except InputError as exc:
                    msg = f"artifact {digest}: {exc}. {MEND}"
                    raise InputError(msg) from None
                self._opened[digest] = local
            return self._opened[digest]

    def discard_staged(self, attempt_key: str) -> None:
        """Removes the local folder of an attempt that was uploaded."""
        if self._cache_folder is not None and self._store.local_path() is None:
            shutil.rmtree(self._cache_folder / attempt_key, ignore_errors=True)

    def _fetched(self, digest: str, manifest: Manifest) -> Path:
        target = self.folder() / "artifacts" / digest
        with locked(self.folder() / "artifacts" / f"{digest}.lock"):
            if target.exists():
                try:
                    self._verify(digest, target, manifest)
                except InputError:
                    shutil.rmtree(target)  # the copy went bad; the store's own may be right
                else:
                    return target
            half = self.folder() / "tmp" / uuid.uuid4().hex
            try:
                self._download(digest, manifest, half)
                check_files(half, manifest)
                half.rename(target)
            finally:
                shutil.rmtree(half, ignore_errors=True)
            self._note(digest, target, manifest)
        return target

    def _download(self, digest: str, manifest: Manifest, folder: Path) -> None:
        for parent in sorted({(folder / name).parent for name in manifest.files} | {folder}):
            make_folder(parent, durable=False)

        def fetch(name: str) -> None:
            try:
                self._store.download(f"{files_key(digest)}/{name}", folder / name)
            except KeyError:
                msg = f"{self._store.url}/{files_key(digest)}/{name}: is missing"
                raise InputError(msg) from None

        for_each(fetch, manifest.files)

    def _verify(self, digest: str, folder: Path, manifest: Manifest) -> None:
        if self._memo_folder is None:
            check_files(folder, manifest)
            return
        with locked(self._memo_folder / f"{digest}.lock"):
            memo = self._memo_folder / f"{digest}.verified"
            if not memo.exists() or memo.read_text() != _fingerprint(folder, manifest):
                check_files(folder, manifest)
                self._note(digest, folder, manifest)

    def _note(self, digest: str, folder: Path, manifest: Manifest) -> None:
        if self._memo_folder is not None:
            memo = self._memo_folder / f"{digest}.verified"
            replace_file(memo, _fingerprint(folder, manifest).encode(), durable=False)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock among the processes of this machine; the kernel frees a dead one's.

    Raises:
        OSError: the lock file cannot be made.
    """
    make_folder(path.parent, durable=False)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def for_each(action: Callable[[_Item], None], items: Iterable[_Item]) -> None:
    """Runs an action for each item, some at a time; the first error ends it and is raised."""
    with ThreadPoolExecutor(MAX_TRANSFERS) as pool:
        for _ in pool.map(action, items):
            pass


def _fingerprint(folder: Path, manifest: Manifest) -> str:
    """Changes when a file was written or replaced, without reading any; "" when one is missing."""
    try:
        found = [(name, (folder / name).stat()) for name in sorted(manifest.files)]
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return digest_of("files", [[name, s.st_size, s.st_mtime_ns, s.st_ino] for name, s in found])
