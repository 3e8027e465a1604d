"""The attempt's folder in an object store: small files now and then, everything at the end."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.storage import Store

_EVERY_SECONDS = 15.0
_LIVE = ("progress.json", "metrics.jsonl")
_log = logging.getLogger(__name__)


class FolderMirror:
    """Uploads one pod's part of an attempt's folder; failing to costs views, not the stage."""

    def __init__(
        self,
        store: Store,
        key: str,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is the folder's in the store; nothing happens where that is the folder itself."""
        self._store = store
        self._key = key
        self._folder = folder
        self._clock = clock
        self._is_idle = store.local_path(key) is not None
        self._next = clock() + _EVERY_SECONDS

    def turn(self) -> None:
        """Uploads what people watch, when it is time."""
        if self._is_idle or self._clock() < self._next:
            return
        self._next = self._clock() + _EVERY_SECONDS
        for name in _LIVE:
            self._upload(self._folder / name)

    def finish(self) -> None:
        """Uploads everything."""
        if not self._is_idle:
            for path in sorted(self._folder.rglob("*")):
                self._upload(path)

    def _upload(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            self._store.upload(path, f"{self._key}/{path.relative_to(self._folder).as_posix()}")
        except StoreError as exc:
            _log.warning("%s is not in the store: %s", path.name, exc)
