"""A stage's durable folder, on every sort of store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cache.state import list_state, open_state
from pipeline.errors import StoreError
from pipeline.spec.context import State
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, content, write_files

Machine = Callable[..., State]


@pytest.fixture
def machine(store: Store, tmp_path: Path) -> Machine:
    """Opens the state anew, as the process of an attempt on the machine of that name does."""

    def open_on(name: str, attempt_id: str = "1", state_key: str = PLAN_KEY) -> State:
        return open_state(store, state_key, attempt_id=attempt_id, mirrors=tmp_path / name)

    return open_on


def test_state_of_a_new_stage_is_empty(machine: Machine, store: Store) -> None:
    assert list(machine("a").path.iterdir()) == []
    assert list_state(store, PLAN_KEY) == []


def test_published_folder_is_there_for_the_next_attempt(machine: Machine, store: Store) -> None:
    first = machine("a")
    files = {"weights.bin": b"w" * 100, "deep/manifest.json": b"{}"}
    write_files(first.path / "step-1", files)
    first.publish("step-1")
    assert content(machine("b").path / "step-1") == files
    assert list_state(store, PLAN_KEY) == ["step-1"]


def test_files_that_ranks_published_apart_come_back_together(machine: Machine) -> None:
    for rank, name in enumerate(("a", "b")):
        state = machine(name)
        write_files(state.path, {f"step-1/rank-{rank}.bin": bytes([rank])})
        state.publish(f"step-1/rank-{rank}.bin")
    assert content(machine("c").path) == {"step-1/rank-0.bin": b"\0", "step-1/rank-1.bin": b"\1"}


def test_name_published_again_has_its_new_content(machine: Machine) -> None:
    state = machine("a")
    for data in (b"old", b"new"):
        write_files(state.path, {"best/weights.bin": data, "pointer": data})
        state.publish("best")
        state.publish("pointer")
    expected = {"best/weights.bin": b"new", "pointer": b"new"}
    assert content(machine("b").path) == expected
    assert content(machine("a").path) == expected


def test_removed_name_does_not_come_back(machine: Machine, store: Store) -> None:
    state = machine("a")
    write_files(state.path, {"step-1/a": b"1", "step-1/b": b"1", "step-10/a": b"1"})
    for name in ("step-1/a", "step-1/b", "step-10"):
        state.publish(name)
    for _ in range(2):
        state.remove("step-1")
    assert content(machine("a").path) == {"step-10/a": b"1"}
    assert content(machine("b").path) == {"step-10/a": b"1"}
    assert len(store.walk(f"state/{PLAN_KEY}")) <= 2


@pytest.mark.parametrize("name", ["../x", "", "/etc", "a/../../b"])
def test_name_outside_the_state_is_refused(machine: Machine, name: str) -> None:
    with pytest.raises(ValueError, match="key"):
        machine("a").publish(name)
    with pytest.raises(ValueError, match="key"):
        machine("a").remove(name)


def test_state_of_other_inputs_on_the_same_machine_is_empty(machine: Machine) -> None:
    first = machine("a", "1", f"{PLAN_KEY}-one")
    write_files(first.path, {"step-10/a": b"1"})
    first.publish("step-10")
    assert content(machine("a", "2", f"{PLAN_KEY}-other").path) == {}


def test_state_that_was_removed_is_empty_for_the_next_attempt(
    machine: Machine, store: Store
) -> None:
    first = machine("a", "1")
    write_files(first.path, {"step-10/a": b"1"})
    first.publish("step-10")
    store.remove_tree(f"state/{PLAN_KEY}")
    assert content(machine("a", "2").path) == {}


def test_publish_of_what_is_not_there_is_a_store_error(machine: Machine) -> None:
    with pytest.raises(StoreError, match="cannot publish"):
        machine("a").publish("step-1")


def test_object_store_without_a_mirror_says_so() -> None:
    with pytest.raises(ValueError, match="needs a mirror folder"):
        open_state(Store("s3://bucket/x"), PLAN_KEY, attempt_id="1")


class TestMirror:
    """What only an object store can get wrong."""

    @pytest.fixture
    def store(self, s3_bucket: str, request: pytest.FixtureRequest) -> Store:
        return Store(f"{s3_bucket}/{request.node.name}")

    def test_half_published_name_is_not_seen(self, store: Store, machine: Machine) -> None:
        state = machine("a")
        write_files(state.path, {"step-1/a": b"1"})
        state.publish("step-1")
        records = [name for name in store.walk() if name.endswith("step-1.json")]
        assert len(records) == 1
        store.remove(records[0])
        assert content(machine("b").path) == {}

    def test_damaged_name_is_ignored_with_a_warning(
        self, store: Store, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        state = machine("a")
        write_files(state.path, {"step-1/a": b"1", "step-2/a": b"2"})
        state.publish("step-1")
        state.publish("step-2")
        for name in store.walk(f"state/{PLAN_KEY}/data"):
            key = f"state/{PLAN_KEY}/data/{name}"
            if store.read(key) == b"2":
                store.write(key, b"x")
        assert content(machine("b").path) == {"step-1/a": b"1"}
        assert "step-2 is damaged and ignored" in caplog.text

    def test_record_that_points_elsewhere_is_ignored(
        self, store: Store, machine: Machine, tmp_path: Path
    ) -> None:
        store.write("secret/a", b"1")
        sha = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
        record = b'{"is_file":false,"folder":"secret","files":{"a":{"size":1,"sha256":"%s"}}}'
        store.write(f"state/{PLAN_KEY}/names/step-1.json", record % sha.encode())
        assert content(machine("b").path) == {}

    def test_names_that_are_here_already_are_not_fetched_again(
        self, store: Store, machine: Machine
    ) -> None:
        state = machine("a")
        write_files(state.path, {"step-1/a": b"1"})
        state.publish("step-1")
        assert content(machine("b").path) == {"step-1/a": b"1"}
        store.remove_tree(f"state/{PLAN_KEY}/data")
        for name in ("a", "b"):
            assert content(machine(name).path) == {"step-1/a": b"1"}

    def test_next_attempt_on_the_machine_fetches_nothing_and_sees_only_what_is_published(
        self, store: Store, machine: Machine, tmp_path: Path
    ) -> None:
        state = machine("a", "1")
        write_files(state.path, {"step-1/a": b"1", "step-1/b": b"2", "pointer": b"1"})
        state.publish("step-1/a")
        state.publish("pointer")
        write_files(state.path, {"step-2/deep/a": b"half"})
        store.remove_tree(f"state/{PLAN_KEY}/data")
        assert content(machine("a", "2").path) == {"step-1/a": b"1", "pointer": b"1"}
        assert not state.path.exists()

    def test_next_attempt_on_the_machine_fetches_what_was_changed_there(
        self, store: Store, machine: Machine
    ) -> None:
        state = machine("a", "1")
        write_files(state.path, {"step-1/a": b"1"})
        state.publish("step-1")
        write_files(state.path, {"step-1/a": b"2"})
        assert content(machine("a", "2").path) == {"step-1/a": b"1"}

    def test_processes_of_an_attempt_share_what_is_not_published_yet(
        self, machine: Machine
    ) -> None:
        first = machine("a", "1")
        write_files(first.path, {"step-1/rank-0": b"1"})
        assert content(machine("a", "1").path) == {"step-1/rank-0": b"1"}
