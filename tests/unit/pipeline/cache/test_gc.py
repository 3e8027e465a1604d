"""Eviction, on every sort of store: what goes, what stays, and that saying it changes nothing."""

import time
from pathlib import Path

import pytest

from pipeline.cache import Artifacts, Leases, Results
from pipeline.cache.gc import (
    GRACE_SECONDS,
    LEASE_KEEP_SECONDS,
    Kind,
    Policy,
    Removal,
    plan_removals,
    remove,
)
from pipeline.cache.inventory import list_results, verify_artifact, verify_artifacts
from pipeline.cache.state import open_state
from pipeline.storage import Store
from tests.attempts import make_artifact, make_result, stage_parts, write_files

DAY = 86400.0
KEYS = [letter * 64 for letter in "123"]
CONTENT = "0123456789abcdef"
"""The second half of a state's name."""


@pytest.fixture
def artifacts(store: Store, tmp_path: Path) -> Artifacts:
    return Artifacts(store, cache_folder=tmp_path / "cache")


@pytest.fixture
def digests(store: Store, artifacts: Artifacts) -> list[str]:
    """Three results of 1000 bytes each; the first is the oldest on an object store too."""
    made = []
    for number, key in enumerate(KEYS):
        digests = make_artifact(artifacts, [{"a": bytes([number]) * 1000}], plan_key=key)
        artifacts.discard(key, "attempt-1")
        make_result(store, digests, plan_key=key, stage=f"stage-{number}")
        made.append(digests["out"])
        time.sleep(0.01)
    return made


def later(seconds: float) -> float:
    return time.time() + seconds


def collect(store: Store, policy: Policy, now: float) -> list[Removal]:
    """Plans, checks that planning changed nothing, and removes."""
    before = store.walk()
    planned = plan_removals(store, policy, now=now)
    assert set(store.walk()) == set(before)
    assert list(remove(store, planned, now=now)) == planned
    assert plan_removals(store, policy, now=now) == []
    return planned


def names(removals: list[Removal], kind: Kind) -> set[str]:
    return {removal.key.split("/")[1] for removal in removals if removal.kind is kind}


def test_default_policy_keeps_every_result_for_ever(store: Store, digests: list[str]) -> None:
    assert collect(store, Policy(), later(1000 * DAY)) == []
    assert all(Results(store).lookup(key) for key in KEYS)


def test_artifact_without_a_result_goes_when_it_is_old(
    store: Store, artifacts: Artifacts, digests: list[str]
) -> None:
    lost = make_artifact(artifacts, [{"b": b"1" * 10}])["out"]
    artifacts.discard("a" * 64, "attempt-1")
    assert collect(store, Policy(), later(GRACE_SECONDS - 60)) == []
    removed = collect(store, Policy(), later(GRACE_SECONDS + 60))
    assert [(r.kind, r.key, r.reason) for r in removed] == [
        (Kind.ARTIFACT, f"artifacts/{lost}", "no result refers to it")
    ]
    assert removed[0].num_bytes > 10
    assert set(store.list("artifacts")) == set(digests)


def test_results_unused_for_longer_than_the_age_go_with_their_artifacts(
    store: Store, digests: list[str]
) -> None:
    removed = collect(store, Policy(max_age_seconds=30 * DAY), later(31 * DAY))
    assert len(names(removed, Kind.RESULT)) == 6
    assert names(removed, Kind.ARTIFACT) == set(digests)
    assert store.walk() == {}


def test_size_limit_removes_the_least_recently_used_first(store: Store, digests: list[str]) -> None:
    removed = collect(store, Policy(max_bytes=2000), later(DAY))
    assert names(removed, Kind.ARTIFACT) == {digests[0]}
    assert {r.reason for r in removed if r.kind is Kind.RESULT} == {"the store is over its size"}
    assert Results(store).lookup(KEYS[0]) is None
    assert Results(store).lookup(KEYS[1])


def test_shared_artifact_stays_while_any_result_uses_it(store: Store, digests: list[str]) -> None:
    make_result(store, {"out": digests[0]}, plan_key="4" * 64)
    removed = collect(store, Policy(max_bytes=1000), later(DAY))
    # Removing the oldest result frees nothing: another one holds the same artifact.
    assert digests[0] not in names(removed, Kind.ARTIFACT)
    assert Results(store).lookup("4" * 64)


def test_latest_results_are_kept_unless_told_otherwise(store: Store, digests: list[str]) -> None:
    Results(store).set_latest("dag", "stage-0", KEYS[0])
    everything = Policy(max_age_seconds=DAY)
    collect(store, everything, later(10 * DAY))
    assert Results(store).lookup(KEYS[0])
    assert store.list("artifacts") == [digests[0]]
    collect(store, Policy(max_age_seconds=DAY, keep_latest=False), later(20 * DAY))
    assert Results(store).lookup(KEYS[0]) is None


def test_results_that_a_held_lease_keeps_stay(store: Store, digests: list[str]) -> None:
    assert Leases(store, duration_seconds=100 * DAY).acquire("run-1", "mine", keeps=[KEYS[1]])
    collect(store, Policy(max_bytes=0), later(10 * DAY))
    assert store.list("artifacts") == [digests[1]]
    assert Results(store).lookup(KEYS[1])


def test_result_used_within_the_grace_stays(store: Store, digests: list[str]) -> None:
    assert collect(store, Policy(max_bytes=0), later(GRACE_SECONDS - 60)) == []


def test_result_whose_artifact_is_gone_is_forgotten(store: Store, digests: list[str]) -> None:
    store.remove_tree(f"artifacts/{digests[0]}")
    removed = collect(store, Policy(), later(DAY))
    assert names(removed, Kind.RESULT) == {f"{KEYS[0]}.json", f"{KEYS[0]}c.json"}
    assert removed[0].reason.endswith("it is not in the store")


def test_reuse_makes_a_result_young_on_a_local_store(local_store: Store) -> None:
    artifacts = Artifacts(local_store)
    for number, key in enumerate(KEYS[:2]):
        made = make_artifact(artifacts, [{"a": bytes([number]) * 1000}], plan_key=key)
        make_result(local_store, made, plan_key=key)
        time.sleep(0.01)
    assert Results(local_store).lookup(KEYS[0])
    assert [stored.result.plan_key for stored in list_results(local_store)] == KEYS[:2]


def test_staging_of_a_dead_attempt_goes_at_once_and_of_a_living_one_stays(
    store: Store, artifacts: Artifacts
) -> None:
    assert Leases(store).acquire(KEYS[0], "mine")
    for key in KEYS[:2]:
        stage_parts(artifacts, [{"a": b"1" * 50}], plan_key=key)
    removed = collect(store, Policy(), later(0))
    assert names(removed, Kind.STAGING) == {KEYS[1]}
    assert artifacts.missing_parts(KEYS[0], "attempt-1", 1) == []
    assert artifacts.missing_parts(KEYS[1], "attempt-1", 1) == [0]


def test_state_goes_when_its_stage_is_finished_or_it_is_old(
    store: Store, digests: list[str], tmp_path: Path
) -> None:
    for key in (KEYS[0], KEYS[1], "9" * 64):
        state = open_state(store, f"{key}-{CONTENT}", attempt_id="1", mirrors=tmp_path)
        write_files(state.path, {"step-1/a": b"1"})
        state.publish("step-1")
    assert Leases(store, duration_seconds=100 * DAY).acquire(KEYS[1], "mine")
    assert names(collect(store, Policy(), later(0)), Kind.STATE) == {f"{KEYS[0]}-{CONTENT}"}
    old = collect(store, Policy(max_age_seconds=5 * DAY), later(6 * DAY))
    assert names(old, Kind.STATE) == {f"{'9' * 64}-{CONTENT}"}
    assert {name.split("/")[0] for name in store.walk("state")} == {f"{KEYS[1]}-{CONTENT}"}


def test_state_that_is_in_use_again_stays(store: Store, digests: list[str], tmp_path: Path) -> None:
    state = open_state(store, f"{KEYS[0]}-{CONTENT}", attempt_id="1", mirrors=tmp_path)
    write_files(state.path, {"step-1/a": b"1"})
    state.publish("step-1")
    planned = plan_removals(store, Policy(), now=later(0))
    assert Leases(store).acquire(KEYS[0], "mine")
    assert list(remove(store, planned, now=later(0))) == []
    assert store.list("state") == [f"{KEYS[0]}-{CONTENT}"]


def test_artifact_committed_again_meanwhile_stays(
    store: Store, artifacts: Artifacts, tmp_path: Path
) -> None:
    digest = make_artifact(artifacts, [{"a": b"1"}])["out"]
    now = later(GRACE_SECONDS + 60)
    planned = [r for r in plan_removals(store, Policy(), now=now) if r.kind is Kind.ARTIFACT]
    assert len(planned) == 1
    assert list(remove(store, planned, now=later(0))) == []
    assert verify_artifact(store, digest).problem is None


def test_old_leases_and_leftovers_of_killed_processes_go(local_store: Store) -> None:
    leases = Leases(local_store)
    assert leases.acquire(KEYS[0], "mine")
    leases.release(KEYS[0], "mine")
    local_store.write("tmp/half", b"1")
    removed = collect(local_store, Policy(), later(GRACE_SECONDS + 60))
    assert [removal.key for removal in removed] == ["tmp/half"]
    removed = collect(local_store, Policy(), later(LEASE_KEEP_SECONDS + 60))
    assert names(removed, Kind.LEASE) == {KEYS[0]}


def test_list_results_gives_sizes_names_and_problems(store: Store, digests: list[str]) -> None:
    Results(store).set_latest("dag", "stage-2", KEYS[2])
    store.remove(f"artifacts/{digests[1]}/files/a")
    store.write("results/damaged.json", b"{")
    third, second, first = list_results(store)
    assert [s.result.stage for s in (first, second, third)] == ["stage-0", "stage-1", "stage-2"]
    assert (first.num_bytes, first.problem, first.keys) == (1000, None, (KEYS[0], f"{KEYS[0]}c"))
    assert (third.latest_of, first.latest_of) == (("dag/stage-2",), ())
    assert second.problem
    assert "its file a is missing" in second.problem


def test_verify_artifacts_finds_every_changed_byte(store: Store, digests: list[str]) -> None:
    assert [verdict.problem for verdict in verify_artifacts(store)] == [None] * 3
    store.write(f"artifacts/{digests[0]}/files/a", b"x" * 1000)
    store.remove(f"artifacts/{digests[1]}/manifest.json")
    assert verify_artifact(store, digests[1]).problem == "it has no manifest"
    found = {verdict.digest: verdict for verdict in verify_artifacts(store)}
    assert set(found) == {digests[0], digests[2]}
    assert "content has digest" in (found[digests[0]].problem or "")
    assert (found[digests[2]].problem, found[digests[2]].num_bytes) == (None, 1000)


def test_damaged_artifact_is_made_again_after_verify(
    store: Store, artifacts: Artifacts, digests: list[str]
) -> None:
    store.write(f"artifacts/{digests[0]}/files/a", b"x" * 1000)
    assert Results(store).lookup(KEYS[0]), "sizes are right: only reading it shows the damage"
    assert [bool(verdict.problem) for verdict in verify_artifacts(store)].count(True) == 1
    assert Results(store).find(KEYS[0]).reason.endswith("it is not in the store")
    assert Results(store).lookup(KEYS[1])
    made = make_artifact(artifacts, [{"a": bytes([0]) * 1000}], attempt_id="attempt-2")
    assert made == {"out": digests[0]}
    assert Results(store).lookup(KEYS[0])
    assert verify_artifact(store, digests[0]).problem is None
