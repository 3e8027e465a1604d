"""The store: named bytes in a folder or at a URL, with atomic writes and exclusive create."""

import itertools
import os
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from pipeline.errors import StoreError, UserError
from pipeline.storage.backend import Backend, FileInfo
from pipeline.storage.failures import has_secret, redact, store_failure
from pipeline.storage.keys import check_key
from pipeline.storage.local import LocalFolder
from pipeline.storage.remote import ObjectFolder, unknown_protocol

_LOCAL_PROTOCOLS = ("file", "local")
_OUR_MISTAKES = (TypeError, AttributeError, NameError, AssertionError)
"""Never a failing store: these pass unwrapped, so that a bug looks like one."""


class Store:
    """Files by key, in a local folder or at any URL that fsspec knows.

    Every method takes keys as `check_key` allows them and raises ValueError for others; whatever
    the place itself raises becomes a StoreError that names URL, key, cause and fix, without
    secrets. Methods may be called from several threads and processes at once.
    """

    def __init__(self, url: str | Path) -> None:
        """Opens nothing yet.

        Args:
            url: a folder (relative ones start at the working folder) or a URL, e.g.
                "file:///artifacts", "s3://bucket/prefix". Credentials come from the environment
                or the machine, never from the URL: it is recorded in every run.

        Raises:
            UserError: the URL carries a password or a query, names nothing, or has an unknown protocol.
        """
        text = os.fspath(url)
        if has_secret(text):
            msg = (
                f"store {redact(text)}: a store URL must not carry credentials, since every run "
                "records it. Give them by the environment, e.g. AWS_ACCESS_KEY_ID."
            )
            raise UserError(msg)
        protocol, separator, rest = text.partition("://")
        if separator and protocol not in _LOCAL_PROTOCOLS:
            if unknown := unknown_protocol(text):
                msg = f"store {text}: no file system is known as {unknown}"
                raise UserError(msg)
            self._url = text.rstrip("/")
            self._backend: Backend = ObjectFolder(self._url)
            return
        folder = Path(urllib.parse.unquote(rest) if separator else text)
        if not str(text) or "\0" in text:
            msg = f"store {text!r} is no folder and no URL. Name one, e.g. .pipeline or s3://bucket"
            raise UserError(msg)
        root = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 - resolve() would follow links that may change
        self._url = root.as_uri()
        self._backend = LocalFolder(root)

    @property
    def url(self) -> str:
        """The absolute URL; opens the same store from any working folder."""
        return self._url

    @override
    def __repr__(self) -> str:
        return f"Store({redact(self._url)!r})"

    def read(self, key: str) -> bytes:
        """The content of a file.

        Raises:
            KeyError: there is no such file.
        """
        check_key(key)
        with self._failing("read", key, absent=True):
            return self._backend.read(key)

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Replaces a file; readers see the old content or the new, never a part.

        `durable=False` spares the fsyncs on a local store: the content may be lost when the
        machine goes down, not when the process does.
        """
        check_key(key)
        with self._failing("write", key):
            self._backend.write(key, data, durable=durable)

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Makes a file that must not exist yet; of many callers one gets True."""
        check_key(key)
        with self._failing("create", key):
            return self._backend.create(key, data, durable=durable)

    def info(self, key: str) -> FileInfo | None:
        """Size and time of a file, None when there is none."""
        check_key(key)
        with self._failing("look up", key):
            return self._backend.info(key)

    def exists(self, key: str) -> bool:
        """Whether there is a file of this name; a folder is none."""
        return self.info(key) is not None

    def list(self, prefix: str = "") -> list[str]:
        """Names of the files and folders directly below, sorted; empty when there is nothing."""
        _check_prefix(prefix)
        with self._failing("list", prefix):
            return sorted(self._backend.children(prefix))

    def walk(self, prefix: str = "") -> Mapping[str, FileInfo]:
        """All files below, by name relative to `prefix`."""
        _check_prefix(prefix)
        with self._failing("list", prefix):
            return self._backend.walk(prefix)

    def remove(self, key: str) -> None:
        """Removes a file; absent is fine."""
        check_key(key)
        with self._failing("remove", key):
            self._backend.remove(key)

    def remove_tree(self, prefix: str) -> None:
        """Removes a folder, on a local store from sight in one step; absent is fine."""
        check_key(prefix)
        with self._failing("remove", prefix):
            self._backend.remove_tree(prefix)

    def touch(self, key: str) -> None:
        """Sets a file's time to now.

        Raises:
            KeyError: there is no such file.
        """
        check_key(key)
        with self._failing("touch", key, absent=True):
            self._backend.touch(key)

    def local_path(self, key: str = "") -> Path | None:
        """Where a key is on this machine, whether it exists or not; None for object stores."""
        _check_prefix(key)
        return self._backend.local_path(key)

    def upload(self, path: Path, key: str) -> None:
        """Replaces a file by the content of a local one, which stays."""
        check_key(key)
        with self._failing("upload to", key):
            self._backend.upload(path, key)

    def download(self, key: str, path: Path) -> None:
        """Writes a file's content to a local path, whose folder exists; not atomic.

        Raises:
            KeyError: there is no such file.
        """
        check_key(key)
        with self._failing("download", key, absent=True):
            self._backend.download(key, path)

    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copies files, (source, target) each, on the server's side; replaces targets.

        Raises:
            KeyError: a source does not exist.
        """
        for key in itertools.chain.from_iterable(pairs):
            check_key(key)
        with self._failing("copy", pairs[0][0] if pairs else "", absent=True):
            self._backend.copy(pairs)

    def move_tree(self, source: str, target: str) -> bool:
        """Moves a folder to a name that has no content; False when the target has some.

        On a local store one rename. On an object store server-side copies, then removals: readers
        may see a part, so whoever needs all or nothing writes a marker afterwards.

        Raises:
            KeyError: the source does not exist.
        """
        check_key(source)
        check_key(target)
        with self._failing("move", source, absent=True):
            return self._backend.move_tree(source, target)

    def check_writable(self) -> None:
        """Tries what every run needs: an exclusive create, a second one that fails, a removal.

        Raises:
            StoreError: the store cannot be written, or does not keep exclusive creates exclusive.
        """
        key = f"tmp/probe-{uuid.uuid4().hex}"
        created = [self.create(key, b"probe", durable=False) for _ in range(2)]
        self.remove(key)
        if created != [True, False]:
            msg = (
                f"store {redact(self._url)}: two exclusive creates of one name gave {created}. "
                "Leases need conditional writes: use a store that has them."
            )
            raise StoreError(msg)

    @contextmanager
    def _failing(self, action: str, key: str, *, absent: bool = False) -> Iterator[None]:
        """Wraps what the place raises; with `absent`, a missing file is a KeyError."""
        try:
            yield
        except _OUR_MISTAKES:
            raise
        except self._backend.foreign as exc:
            if absent and isinstance(exc, FileNotFoundError):
                raise KeyError(key) from None
            # A traceback prints the chained exception too; one that holds a secret is left out.
            chained = exc if redact(str(exc)) == str(exc) else None
            raise store_failure(self._url, f"{action} {key}".strip(), exc) from chained


def _check_prefix(prefix: str) -> None:
    if prefix:
        check_key(prefix)
