"""Leases are renewed while they are held, and their loss is noticed."""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.cache.leases import Leases
from pipeline.runner.leases import LeaseKeeper
from pipeline.storage import Store
from tests.stores import before_each_operation

LIFETIME_SECONDS = 0.15
LONG_SECONDS = 5.0
TAKEN = "another runner took its lease over, or the lease was removed"


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(Store(tmp_path), duration_seconds=LIFETIME_SECONDS)


@pytest.fixture
def keeper(leases: Leases) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(leases, lifetime_seconds=LIFETIME_SECONDS)
    yield keeper
    keeper.close()


def _wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + LONG_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_keeper_renews_what_it_holds(leases: Leases, keeper: LeaseKeeper) -> None:
    assert keeper.acquire("k", "mine")
    first = leases.holder("k")
    assert first

    def is_renewed() -> bool:
        now = leases.holder("k")
        return now is not None and now.expires > first.expires + LIFETIME_SECONDS

    _wait_for(is_renewed)
    assert keeper.lost() == {}
    assert not leases.acquire("k", "other")


def test_keeper_released_lease_is_free(leases: Leases, keeper: LeaseKeeper) -> None:
    keeper.acquire("k", "mine")
    keeper.release("k")
    keeper.release("k")
    assert leases.acquire("k", "other")
    assert not keeper.acquire("k", "mine")
    assert keeper.holder("k").startswith("process ")


def test_keeper_notices_that_another_took_over(leases: Leases, keeper: LeaseKeeper) -> None:
    keeper.acquire("k", "mine")
    leases.release("k", "mine")
    leases.acquire("k", "thief")
    assert keeper.why_lost("k") == TAKEN
    _wait_for(lambda: keeper.lost() == {"k": TAKEN})
    keeper.release("k")
    assert keeper.lost() == {}
    assert leases.held_by("k", "thief")


def test_keeper_store_out_of_reach_for_a_lifetime_loses_and_blames_no_runner(
    tmp_path: Path,
) -> None:
    broken: list[str] = []

    def fail(operation: str) -> None:
        if broken:
            raise OSError(errno.EIO, operation)

    store = before_each_operation(Store(tmp_path), fail)
    leases = Leases(store, duration_seconds=LIFETIME_SECONDS)
    keeper = LeaseKeeper(leases, lifetime_seconds=LIFETIME_SECONDS)
    keeper.acquire("k", "mine")
    broken.append("yes")
    assert keeper.why_lost("k") == ""
    _wait_for(lambda: "k" in keeper.lost())
    assert keeper.lost()["k"].startswith("its lease could not be renewed for 0 s: store ")
    assert keeper.why_lost("k") == keeper.lost()["k"]
    broken.clear()
    keeper.close()


def test_keeper_close_gives_all_back(leases: Leases) -> None:
    keeper = LeaseKeeper(leases, lifetime_seconds=LIFETIME_SECONDS)
    for key in "abc":
        assert keeper.acquire(key, "mine", keeps=["p"])
    keeper.close()
    assert leases.held() == {}
