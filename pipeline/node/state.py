"""The durable folder of a stage, on a shared disk or copied to and from an object store."""

import shutil
from pathlib import Path

from pipeline.cache.local_copy import for_each, locked
from pipeline.storage import Store
from pipeline.storage.failures import store_failure
from pipeline.storage.files import make_folder, sync_folder, sync_tree


class StateFolder:
    """`state/<plan key>` of the store as a local folder; shared by the ranks of a node.

    A killed process may leave unpublished files; whoever reads them has to tell (a checkpoint has a
    manifest, written last).
    """

    def __init__(self, store: Store, plan_key: str, cache_folder: Path) -> None:
        """Makes and fetches nothing until `path` is asked for.

        Args:
            store: where the state lives.
            plan_key: of the stage.
            cache_folder: local folder for the copy of an object store's state.
        """
        self._store = store
        self._key = f"state/{plan_key}"
        self._in_place = store.local_path(self._key)
        self._local = self._in_place or cache_folder / self._key
        self._ready = False

    @property
    def path(self) -> Path:
        """The folder, with all that earlier attempts published.

        Raises:
            StoreError: it cannot be made or fetched.
        """
        if not self._ready:
            try:
                make_folder(self._local)
                if self._in_place is None:
                    self._fetch()
            except OSError as exc:
                raise store_failure(self._store.url, f"open {self._key}", exc) from exc
            self._ready = True
        return self._local

    def publish(self, name: str) -> None:
        """Makes a file or folder durable; `name` may lie deeper, as "step-10/rank-1.safetensors".

        Raises:
            StoreError: disk or store refused.
        """
        target = self.path / name
        try:
            sync_tree(target)
            for folder in target.relative_to(self._local).parents:
                sync_folder(self._local / folder)
        except OSError as exc:
            raise store_failure(self._store.url, f"publish {self._key}/{name}", exc) from exc
        if self._in_place is None:
            files = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
            for_each(
                lambda path: self._store.upload(
                    path, f"{self._key}/{path.relative_to(self._local).as_posix()}"
                ),
                files,
            )

    def remove(self, name: str) -> None:
        """Removes a file or folder here and in the store; absent is fine.

        Raises:
            StoreError: disk or store refused.
        """
        target = self.path / name
        if self._in_place is None:
            self._store.remove_tree(f"{self._key}/{name}")
            self._store.remove(f"{self._key}/{name}")
        try:
            if target.is_dir():
                # Out of sight first: half a folder would look like one that went bad.
                doomed = target.with_name(f".removed-{target.name}")
                target.rename(doomed)
                shutil.rmtree(doomed)
            else:
                target.unlink(missing_ok=True)
        except OSError as exc:
            raise store_failure(self._store.url, f"remove {self._key}/{name}", exc) from exc

    def _fetch(self) -> None:
        """Downloads what is not here in the same size; one process of the machine at a time."""
        with locked(self._local.with_suffix(".lock")):
            found = self._store.walk(self._key)
            missing = [
                name
                for name, info in found.items()
                if not (self._local / name).is_file()
                or (self._local / name).stat().st_size != info.size
            ]
            for name in missing:
                make_folder((self._local / name).parent, durable=False)
            for_each(
                lambda name: self._store.download(f"{self._key}/{name}", self._local / name),
                missing,
            )
