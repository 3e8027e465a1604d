"""Any sequence of operations on a store gives what the same sequence on a dict gives."""

import shutil
import tempfile
import uuid
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from pipeline.storage import Store

# A folder's name is never a file's: object stores allow both at once, file systems do not.
FOLDERS = st.sampled_from(["a", "b", "c/d", "c/e"])
NAMES = st.sampled_from(["1", "2", "3"])
DATA = st.binary(max_size=20)


class StoreMachine(RuleBasedStateMachine):
    """A local store beside a dict of all its files."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store(self.folder / "store")
        self.files: dict[str, bytes] = {}

    @rule(folder=FOLDERS, name=NAMES, data=DATA, durable=st.booleans())
    def write(self, folder: str, name: str, data: bytes, *, durable: bool) -> None:
        self.store.write(f"{folder}/{name}", data, durable=durable)
        self.files[f"{folder}/{name}"] = data

    @rule(folder=FOLDERS, name=NAMES, data=DATA)
    def create(self, folder: str, name: str, data: bytes) -> None:
        key = f"{folder}/{name}"
        assert self.store.create(key, data) == (key not in self.files)
        self.files.setdefault(key, data)

    @rule(folder=FOLDERS, name=NAMES)
    def remove(self, folder: str, name: str) -> None:
        self.store.remove(f"{folder}/{name}")
        self.files.pop(f"{folder}/{name}", None)

    @rule(folder=st.sampled_from(["a", "b", "c", "c/d"]))
    def remove_tree(self, folder: str) -> None:
        self.store.remove_tree(folder)
        for key in self._below(folder):
            del self.files[key]

    @rule(source=FOLDERS, new=FOLDERS)
    def move_tree(self, source: str, new: str) -> None:
        if source == new or not self._below(source):
            return
        free = not self._below(new)
        assert self.store.move_tree(source, new) == free
        if free:
            for key in self._below(source):
                self.files[new + key.removeprefix(source)] = self.files.pop(key)

    @rule(folder=FOLDERS, name=NAMES, new=FOLDERS)
    def copy(self, folder: str, name: str, new: str) -> None:
        source = f"{folder}/{name}"
        if source in self.files:
            self.store.copy([(source, f"{new}/copied")])
            self.files[f"{new}/copied"] = self.files[source]

    @invariant()
    def everything_agrees(self) -> None:
        found = self.store.walk()
        assert {key: info.size for key, info in found.items()} == {
            key: len(data) for key, data in self.files.items()
        }
        assert {key: self.store.read(key) for key in found} == self.files
        assert self.store.list("a") == sorted(key[2:] for key in self._below("a"))
        assert self.store.list("tmp") == []

    def _below(self, folder: str) -> list[str]:
        return [key for key in self.files if key.startswith(f"{folder}/")]

    @override
    def teardown(self) -> None:
        shutil.rmtree(self.folder)


class MemoryStoreMachine(StoreMachine):
    """The same on fsspec's memory, through the code of object stores."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(f"memory://{uuid.uuid4().hex}")


TestLocalStore = StoreMachine.TestCase
TestLocalStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMemoryStore = MemoryStoreMachine.TestCase
TestMemoryStore.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
