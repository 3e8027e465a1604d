"""Eviction: what may be removed from a store, said first and done second.

Nothing is removed that a held lease protects: the staged files and the state of its own key, and
the results that it `keeps`. Whatever else somebody may be about to use is protected by age.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.cache.inventory import StoredResult, by_folder, list_results
from pipeline.cache.leases import Lease, Leases
from pipeline.cache.presence import manifest_key
from pipeline.storage import Store

GRACE_SECONDS = 3600.0
"""A commit records its result, and a planned run opens what it reuses, well within this time."""
LEASE_KEEP_SECONDS = 7 * 86400.0
"""How long a lease that nobody holds is remembered; a slow rival must not find its number free."""

_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a removal removes."""

    RESULT = "result"
    ARTIFACT = "artifact"
    STAGING = "staging"
    STATE = "state"
    LEASE = "lease"
    TEMPORARY = "temporary"


@dataclass(frozen=True)
class Policy:
    """What to keep beyond what must be kept; the default removes only what nothing refers to.

    Attributes:
        max_age_seconds: results that were not used for longer go, and state of stages that were
            never finished; None is no limit.
        max_bytes: the least recently used results go until the artifacts fit; None is no limit.
        keep_latest: spares the last result of every stage of every DAG from both.
    """

    max_age_seconds: float | None = None
    max_bytes: int | None = None
    keep_latest: bool = True


@dataclass(frozen=True)
class Removal:
    """One thing to remove: key in the store, size, and why it may go."""

    kind: Kind
    key: str
    num_bytes: int
    reason: str


def plan_removals(store: Store, policy: Policy, *, now: float) -> list[Removal]:
    """All that `policy` removes, in the order in which it has to go; changes nothing.

    Args:
        store: to look through.
        policy: what to keep.
        now: seconds since the epoch.

    Raises:
        StoreError: the store failed.
    """
    # Before the leases: what was staged when we looked belongs to a lease that is older.
    attempts = [(key, id_) for key in store.list("staging") for id_ in store.list(f"staging/{key}")]
    states = by_folder(store.walk("state"))
    held = Leases(store).held()
    results = list_results(store)
    doomed = _doomed_results(results, held, policy, now)
    removals = [
        Removal(Kind.RESULT, f"results/{key}.json", 0, reason)
        for stored, reason in doomed
        for key in stored.keys
    ]
    gone = {id(stored) for stored, _ in doomed}
    left = [stored for stored in results if id(stored) not in gone]
    removals.extend(_artifacts(store, left, now))
    removals.extend(_staging(store, attempts, held))
    finished = {stored.result.plan_key for stored in left if stored.problem is None}
    for name, info in states.items():
        plan_key = name.partition("-")[0]
        old = policy.max_age_seconds is not None and now - info.modified > policy.max_age_seconds
        if plan_key not in held and (plan_key in finished or old):
            reason = "its stage is finished" if plan_key in finished else "unused too long"
            removals.append(Removal(Kind.STATE, f"state/{name}", info.size, reason))
    removals.extend(_leftovers(store, held, now))
    return removals


def num_young(store: Store, *, now: float) -> int:
    """How many artifacts are spared whatever the policy says.

    Raises:
        StoreError: the store failed.
    """
    found = by_folder(store.walk("artifacts")).values()
    return sum(now - info.modified <= GRACE_SECONDS for info in found)


def remove(store: Store, removals: Iterable[Removal], *, now: float) -> Iterator[Removal]:
    """Does what was planned, and yields what is done; leaves out what came into use meanwhile.

    Raises:
        StoreError: the store failed; what was yielded is gone.
    """
    for removal in removals:
        if _remove_one(store, removal, now):
            yield removal
        else:
            _log.info("%s %s is in use again and stays", removal.kind, removal.key)


def _doomed_results(
    results: Sequence[StoredResult], held: dict[str, Lease], policy: Policy, now: float
) -> list[tuple[StoredResult, str]]:
    kept = set(held).union(*(lease.keeps for lease in held.values()))
    doomed: list[tuple[StoredResult, str]] = []
    references = Counter(digest for stored in results for digest in stored.artifact_bytes)
    sizes = {digest: size for stored in results for digest, size in stored.artifact_bytes.items()}
    total = sum(sizes.values())
    for stored in reversed(results):  # the least recently used first
        age = now - stored.used
        reason = None
        if age <= GRACE_SECONDS or stored.result.plan_key in kept:
            continue
        if stored.problem:
            reason = stored.problem
        elif policy.keep_latest and stored.latest_of:
            continue
        elif policy.max_age_seconds is not None and age > policy.max_age_seconds:
            reason = f"unused for {age / 86400:.1f} days"
        elif policy.max_bytes is not None and total > policy.max_bytes:
            reason = "the store is over its size"
        if reason:
            doomed.append((stored, reason))
            for digest in stored.artifact_bytes:
                references[digest] -= 1
                total -= 0 if references[digest] else sizes[digest]
    return doomed


def _artifacts(store: Store, left: Sequence[StoredResult], now: float) -> Iterator[Removal]:
    used = {digest for stored in left for digest in stored.result.artifacts.values()}
    for digest, info in sorted(by_folder(store.walk("artifacts")).items()):
        if digest not in used and now - info.modified > GRACE_SECONDS:
            yield Removal(Kind.ARTIFACT, f"artifacts/{digest}", info.size, "no result refers to it")


def _staging(
    store: Store, attempts: Sequence[tuple[str, str]], held: dict[str, Lease]
) -> Iterator[Removal]:
    for plan_key, attempt in attempts:
        key = f"staging/{plan_key}/{attempt}"
        files = store.walk(key)
        # Some object stores keep the names of folders that have no files any more.
        if plan_key not in held and (files or store.local_path() is not None):
            size = sum(info.size for info in files.values())
            yield Removal(Kind.STAGING, key, size, "its attempt is over")


def _leftovers(store: Store, held: dict[str, Lease], now: float) -> Iterator[Removal]:
    for key, info in sorted(by_folder(store.walk("leases")).items()):
        if key not in held and now - info.modified > LEASE_KEEP_SECONDS:
            yield Removal(Kind.LEASE, f"leases/{key}", info.size, "nobody holds it")
    for name, info in sorted(by_folder(store.walk("tmp")).items()):
        if now - info.modified > GRACE_SECONDS:
            yield Removal(Kind.TEMPORARY, f"tmp/{name}", info.size, "left by a process that died")


def _remove_one(store: Store, removal: Removal, now: float) -> bool:
    name = removal.key.split("/")[1].partition("-")[0]
    if removal.kind is Kind.RESULT:
        store.remove(removal.key)
        return True
    if removal.kind is Kind.ARTIFACT:
        info = store.info(manifest_key(name))
        if info is not None and now - info.modified <= GRACE_SECONDS:
            return False  # a commit of the same content has just touched it
        store.remove(manifest_key(name))
    if removal.kind is not Kind.STATE:
        store.remove_tree(removal.key)
        return True
    token = f"gc-{uuid.uuid4().hex}"
    leases = Leases(store)
    if not leases.acquire(name, token):
        return False
    store.remove_tree(removal.key)
    leases.release(name, token)
    return True
