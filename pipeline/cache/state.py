"""The durable folder of a stage, `state/<state key>`: used in place, or mirrored from an object store.

An object store has no folder that changes all at once, so each published name is a record with
its files' digests, written after the files; files lie under a new folder each time, so a name that
is published again keeps its old content until the new record stands.
"""

import logging
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from pipeline.cache.local_copy import for_each, locked
from pipeline.cache.manifest import FileEntry, FileName, hash_file, plain_files
from pipeline.spec.context import State
from pipeline.storage import Store
from pipeline.storage.failures import store_failure
from pipeline.storage.files import make_folder, place, replace_file, sync_folder, sync_tree
from pipeline.storage.keys import check_key

_RECORDS = "names"
_DATA = "data"

_log = logging.getLogger(__name__)


def open_state(
    store: Store, state_key: str, *, attempt_id: str, mirrors: Path | None = None
) -> State:
    """The state of a stage; nothing is made or fetched before its `path` is asked for.

    Args:
        store: where it is durable.
        state_key: names it: `Job.state_key`.
        attempt_id: whose processes on one machine share a mirror.
        mirrors: local folder for copies of an object store's states. What an earlier attempt left
            there is taken over where it is published, and removed where it is not. A local store
            needs none.

    Raises:
        ValueError: the store is not local and there are no mirrors.
    """
    key = _state_key(state_key)
    folder = store.local_path(key)
    if folder is not None:
        return _InPlace(store, key, folder)
    if mirrors is None:
        msg = f"store {store.url} is not local: its state needs a mirror folder"
        raise ValueError(msg)
    return _Mirrored(store, key, mirrors / check_key(state_key) / check_key(attempt_id))


def newest_number(names: Iterable[str]) -> int | None:
    """The newest step of states named like `step-00000669`; None when none is."""
    return max(
        (int(m[1]) for name in names if (m := re.fullmatch(r"\D*(\d+)", name))), default=None
    )


def saved_steps(store: Store, plan_keys: Iterable[str]) -> dict[str, int]:
    """Plan key -> the step that an attempt may go on from, of those with a state.

    Raises:
        StoreError: the store failed.
    """
    wanted = set(plan_keys)
    found: dict[str, int] = {}
    for key in store.list("state") if wanted else ():
        plan_key = key.partition("-")[0]
        step = newest_number(list_state(store, key)) if plan_key in wanted else None
        if step is not None:
            found[plan_key] = max(step, found.get(plan_key, 0))
    return found


def list_state(store: Store, state_key: str) -> list[str]:
    """Names at the top of a stage's state, sorted: what `path` holds, without fetching it.

    Raises:
        StoreError: the store failed.
    """
    key = _state_key(state_key)
    if store.local_path() is not None:
        return store.list(key)
    return sorted({name.split("/", maxsplit=1)[0] for name in _published(store, key)})


class _InPlace(State):
    """State in a local store: publishing makes durable what is there."""

    def __init__(self, store: Store, key: str, folder: Path) -> None:
        self._store = store
        self._key = key
        self._folder = folder
        self._is_made = False

    @property
    @override
    def path(self) -> Path:
        if not self._is_made:
            try:
                make_folder(self._folder)
            except OSError as exc:
                raise store_failure(self._store.url, f"open {self._key}", exc) from exc
            self._is_made = True
        return self._folder

    @override
    def publish(self, name: str) -> None:
        path = self.path / check_key(name)
        try:
            sync_tree(path)
            # A nested name's folders may be as new as the name itself.
            for parent in path.parents[: len(Path(name).parts)]:
                sync_folder(parent)
        except OSError as exc:
            raise store_failure(self._store.url, f"publish {self._key}/{name}", exc) from exc

    @override
    def remove(self, name: str) -> None:
        self._store.remove_tree(f"{self._key}/{check_key(name)}")


class _Record(BaseModel):
    """A published name: the folder its files are in, and what they must be.

    A name that is one file has exactly one, under the name's last part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_file: bool
    folder: FileName
    files: dict[FileName, FileEntry]


class _Mirrored(State):
    """State in an object store, with a local mirror: `files/` for the stage, `published/` notes."""

    def __init__(self, store: Store, key: str, mirror: Path) -> None:
        self._store = store
        self._key = key
        self._mirror = mirror
        self._files = mirror / "files"
        self._is_restored = False

    @property
    @override
    def path(self) -> Path:
        if not self._is_restored:
            try:
                with locked(self._mirror.with_name("lock")):
                    if not self._files.exists():
                        _take_over(self._store, self._key, self._mirror)
                    _restore(self._store, self._key, self._mirror)
            except OSError as exc:
                raise store_failure(self._store.url, f"open {self._key}", exc) from exc
            self._is_restored = True
        return self._files

    @override
    def publish(self, name: str) -> None:
        path = self.path / check_key(name)
        folder = f"{self._key}/{_DATA}/{uuid.uuid4().hex}"
        old = _read_record(self._store, self._key, name)
        try:
            is_file = not path.is_dir()
            top = path.parent if is_file else path
            files = {
                file.relative_to(top).as_posix(): hash_file(file)
                for file in ([path] if is_file else plain_files(path))
            }
            for_each(lambda file: self._store.upload(top / file, f"{folder}/{file}"), files)
            record = _Record(is_file=is_file, folder=folder, files=files)
            self._store.write(_record_key(self._key, name), record.model_dump_json().encode())
            _note(self._mirror, name, record)
        except OSError as exc:
            raise store_failure(self._store.url, f"publish {path}", exc) from exc
        if old:
            self._store.remove_tree(old.folder)

    @override
    def remove(self, name: str) -> None:
        check_key(name)
        for published in _published(self._store, self._key):
            if published == name or published.startswith(f"{name}/"):
                record = _read_record(self._store, self._key, published)
                # The record first: a name must never be seen without its files.
                self._store.remove(_record_key(self._key, published))
                if record:
                    self._store.remove_tree(record.folder)
        try:
            _remove_locally(self.path / name)
        except OSError as exc:
            raise store_failure(self._store.url, f"remove {name} of {self._key}", exc) from exc


def _take_over(store: Store, key: str, mirror: Path) -> None:
    """Makes the mirror of an attempt out of what earlier ones left on this machine.

    Only what is published and whole goes on: not a half checkpoint, nor one that was taken back.
    """
    earlier = [folder for folder in mirror.parent.iterdir() if folder.is_dir()]
    earlier.sort(key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    new = mirror.with_name(f"new-{uuid.uuid4().hex}")
    make_folder(new / "files", durable=False)
    for name in _published(store, key):
        record = _read_record(store, key, name)
        if record is None:
            continue
        tops = (_top(folder, name, record) for folder in earlier)
        if top := next((top for top in tops if _is_whole(top, record)), None):
            for file in record.files:
                place(top / file, _top(new, name, record) / file, durable=False)
            _note(new, name, record)
    for folder in earlier:
        _remove_locally(folder)
    new.rename(mirror)


def _restore(store: Store, key: str, mirror: Path) -> None:
    """Fetches what is published and not here; parents come before names inside them."""
    for name in _published(store, key):
        record = _read_record(store, key, name)
        if record is None or _is_here(mirror, name, record):
            continue
        incoming = mirror / "incoming"
        _remove_locally(incoming)
        problem = _fetch(store, record, incoming)
        if problem:
            # Older checkpoints may be whole; the stage decides what it can go on from.
            _log.warning(
                "%s: state %s/%s is damaged and ignored: %s", store.url, key, name, problem
            )
            continue
        target = mirror / "files" / name
        _remove_locally(target)
        make_folder(target.parent, durable=False)
        (incoming / target.name if record.is_file else incoming).rename(target)
        _note(mirror, name, record)


def _fetch(store: Store, record: _Record, incoming: Path) -> str | None:
    """Downloads and verifies; what is wrong, None when nothing."""
    for parent in sorted({(incoming / file).parent for file in record.files} | {incoming}):
        make_folder(parent, durable=False)
    try:
        for_each(
            lambda file: store.download(f"{record.folder}/{file}", incoming / file), record.files
        )
    except KeyError as exc:
        return f"{exc} is missing"
    for file, entry in record.files.items():
        if hash_file(incoming / file) != entry:
            return f"{record.folder}/{file} is not what was published"
    return None


def _state_key(state_key: str) -> str:
    return f"state/{state_key}"


def _published(store: Store, key: str) -> list[str]:
    names = store.walk(f"{key}/{_RECORDS}")
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def _record_key(key: str, name: str) -> str:
    return f"{key}/{_RECORDS}/{name}.json"


def _read_record(store: Store, key: str, name: str) -> _Record | None:
    """None when there is none or it is damaged: then nothing of the name counts as published."""
    try:
        record = _Record.model_validate_json(store.read(_record_key(key, name)))
    except (KeyError, ValidationError):
        return None
    return record if record.folder.startswith(f"{key}/{_DATA}/") else None


def _top(mirror: Path, name: str, record: _Record) -> Path:
    """The folder that the record's files are in."""
    path = mirror / "files" / name
    return path.parent if record.is_file else path


def _is_here(mirror: Path, name: str, record: _Record) -> bool:
    """Whether the mirror got exactly this record before and still has its files."""
    top = _top(mirror, name, record)
    try:
        if _note_path(mirror, name).read_text() != record.model_dump_json():
            return False
        return all(
            (top / file).stat().st_size == entry.size for file, entry in record.files.items()
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_whole(top: Path, record: _Record) -> bool:
    """Whether the files are there, every byte of them."""
    try:
        return all(hash_file(top / file) == entry for file, entry in record.files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _note(mirror: Path, name: str, record: _Record) -> None:
    replace_file(_note_path(mirror, name), record.model_dump_json().encode(), durable=False)


def _note_path(mirror: Path, name: str) -> Path:
    """Where a stage does not see it."""
    return mirror / "published" / f"{name}.json"


def _remove_locally(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
