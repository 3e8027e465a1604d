"""Attempts with the same content that commit at the same time, in any order of operations."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cache import Artifacts
from pipeline.cache.inventory import verify_artifact
from pipeline.storage import Store
from tests.attempts import make_artifact
from tests.interleaving import Interleaving

PARTS = ({"a": b"a" * 100}, {"deep/b": b"b"})
NUM_COMMITTERS = 3
DAMAGES = ("none", "no manifest", "no file", "short file", "nothing yet")


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, NUM_COMMITTERS - 1), max_size=60),
    st.sampled_from(DAMAGES),
    st.integers(1, 2),
)
def test_artifact_is_complete_from_the_first_commit_that_returns(
    schedule: list[int], damage: str, num_parts: int
) -> None:
    parts = PARTS[:num_parts]
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        digest = make_artifact(Artifacts(store), parts, plan_key="0" * 64)["out"]
        _damage(store, digest, damage)

        def committer(number: int, store: Store) -> None:
            made = make_artifact(Artifacts(store), parts, plan_key=str(number + 1) * 64)
            assert made == {"out": digest}
            # Looked at past the schedule: at this very moment, whatever the others are in.
            assert verify_artifact(Store(folder), digest).problem is None
            done.append(number)

        def watcher(store: Store) -> None:
            for _ in range(20):
                store.exists("anything")
                if done:
                    assert verify_artifact(Store(folder), digest).problem is None

        done: list[int] = []
        programs = [lambda store, number=number: committer(number, store) for number in range(2)]
        Interleaving(store, [*programs, watcher]).follow(schedule)
        assert sorted(done) == [0, 1]


def _damage(store: Store, digest: str, damage: str) -> None:
    if damage == "no manifest":
        store.remove(f"artifacts/{digest}/manifest.json")
    elif damage == "no file":
        store.remove(f"artifacts/{digest}/files/a")
    elif damage == "short file":
        store.write(f"artifacts/{digest}/files/a", b"a")
    elif damage == "nothing yet":
        store.remove_tree(f"artifacts/{digest}")
