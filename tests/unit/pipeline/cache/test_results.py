"""Results: recording, finding, and the reason of every miss."""

from pathlib import Path

import pytest

from pipeline.cache import Artifacts, Results
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, make_artifact, make_result


@pytest.fixture
def digest(store: Store, tmp_path: Path) -> str:
    artifacts = Artifacts(store, cache_folder=tmp_path / "cache")
    return make_artifact(artifacts, [{"a.txt": b"alpha", "b/c": b"1"}])["out"]


def test_lookup_finds_a_result_under_both_keys(store: Store, digest: str) -> None:
    result = make_result(store, {"out": digest})
    assert Results(store).lookup(result.plan_key) == result
    assert Results(store).lookup(result.content_key) == result


def test_lookup_of_an_unknown_key_is_a_miss(store: Store) -> None:
    found = Results(store).find(PLAN_KEY)
    assert (found.result, found.reason) == (None, "nothing is recorded under this key")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"", "is damaged: content"),
        (b'{"format": 1}', "is damaged: artifacts"),
        (b'{"format": 7}', "is damaged: format"),
        (b'{"artifacts": {"out": "../../etc"}}', r"is damaged: artifacts\.out"),
    ],
)
def test_damaged_result_is_a_miss_with_its_reason(store: Store, damage: bytes, reason: str) -> None:
    store.write(f"results/{PLAN_KEY}.json", damage)
    found = Results(store).find(PLAN_KEY)
    assert found.result is None
    assert reason.replace("\\", "") in found.reason


def test_lost_file_is_a_miss_with_its_reason(store: Store, digest: str) -> None:
    make_result(store, {"out": digest})
    store.write(f"artifacts/{digest}/files/a.txt", b"alph")
    reason = Results(store).find(PLAN_KEY).reason
    assert reason == f"artifact {digest[:12]} of port out: its file a.txt has 4 bytes, not 5"
    store.remove(f"artifacts/{digest}/files/a.txt")
    assert Results(store).find(PLAN_KEY).reason.endswith("its file a.txt is missing")
    store.write(f"artifacts/{digest}/manifest.json", b"{}")
    assert "its manifest is damaged: kind" in Results(store).find(PLAN_KEY).reason
    store.remove_tree(f"artifacts/{digest}")
    assert Results(store).find(PLAN_KEY).reason.endswith("it is not in the store")


def test_read_gives_a_result_whose_artifacts_are_gone(store: Store, digest: str) -> None:
    result = make_result(store, {"out": digest})
    store.remove_tree("artifacts")
    assert Results(store).read(PLAN_KEY).result == result
    assert Results(store).lookup(PLAN_KEY) is None


def test_record_replaces_what_was_there(store: Store, digest: str) -> None:
    make_result(store, {}, stage="old")
    result = make_result(store, {"out": digest}, stage="new")
    results = Results(store)
    assert results.lookup(PLAN_KEY) == result
    assert results.lookup(result.content_key) == result


def test_latest_is_what_was_set_last(store: Store) -> None:
    results = Results(store)
    address = "finetune[path=a/b c]"
    assert results.latest("dag", address) is None
    for key in ("1" * 64, "2" * 64):
        results.set_latest("dag", address, key)
    assert results.latest("dag", address) == "2" * 64
    assert results.latest("dag", "finetune") is None
