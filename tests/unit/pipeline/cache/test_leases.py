"""Leases: one holder, and how a dead or silent one is replaced."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from pipeline.cache.holder import Holder, this_process
from pipeline.cache.leases import CLOCK_SKEW_SECONDS, LEASE_SECONDS, Lease, Leases, describe
from pipeline.storage import Store

KEY = "a" * 64


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


def elsewhere(**changes: object) -> Holder:
    return this_process().model_copy(update={"boot_id": "another machine", **changes})


def put(store: Store, holder: Holder, *, generation: int = 1, now: float = 1e9) -> None:
    lease = Lease(token="theirs", holder=holder, acquired=now, expires=now + LEASE_SECONDS)
    store.write(f"leases/{KEY}/{generation}", lease.model_dump_json().encode())


@contextmanager
def other_process() -> Iterator[Holder]:
    """A living process that is not this one."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
        start = int(stat.rpartition(")")[2].split()[19])
        yield this_process().model_copy(update={"pid": process.pid, "start_time": start})
    finally:
        process.communicate()


def test_acquire_excludes_everybody_else(store: Store) -> None:
    leases = Leases(store)
    assert leases.acquire(KEY, "mine", keeps=["x"])
    assert not leases.acquire(KEY, "theirs")
    assert leases.acquire("b" * 64, "theirs")
    assert leases.held_by(KEY, "mine")
    assert not leases.held_by(KEY, "theirs")
    found = leases.holder(KEY)
    assert found is not None
    assert (found.holder, found.keeps) == (this_process(), ("x",))
    assert set(leases.held()) == {KEY, "b" * 64}


def test_acquire_again_by_the_holder_succeeds(store: Store) -> None:
    assert [Leases(store).acquire(KEY, "mine") for _ in range(2)] == [True, True]


def test_release_frees_the_lease_for_the_next(store: Store) -> None:
    leases = Leases(store)
    assert leases.acquire(KEY, "mine")
    leases.release(KEY, "theirs")
    assert leases.held_by(KEY, "mine")
    leases.release(KEY, "mine")
    assert not leases.held_by(KEY, "mine")
    assert leases.holder(KEY) is None
    assert leases.held() == {}
    assert not leases.renew(KEY, "mine")
    assert leases.acquire(KEY, "theirs")


def test_many_generations_leave_one_file(store: Store) -> None:
    leases = Leases(store)
    for _ in range(5):
        assert leases.acquire(KEY, "mine")
        leases.release(KEY, "mine")
    assert store.list(f"leases/{KEY}") == ["5"]


def test_dead_holder_of_this_machine_is_replaced_at_once(store: Store) -> None:
    with other_process() as holder:
        put(store, holder)
        leases = Leases(store, clock=lambda: 1e9)
        assert not leases.acquire(KEY, "mine")
    assert leases.acquire(KEY, "mine")
    assert not leases.held_by(KEY, "theirs")


def test_reused_process_id_does_not_hold_the_lease(store: Store) -> None:
    with other_process() as holder:
        put(store, holder.model_copy(update={"start_time": holder.start_time - 1}))
        assert Leases(store, clock=lambda: 1e9).acquire(KEY, "mine")


def test_zombie_does_not_hold_the_lease(store: Store) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    holder = this_process().model_copy(update={"pid": process.pid})
    # Waits for its end without reaping it.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    put(store, holder)
    assert Leases(store, clock=lambda: 1e9).acquire(KEY, "mine")
    process.wait()


@pytest.mark.parametrize(
    "changes",
    [{}, {"pid": 2**22 + 1}, {"boot_id": ""}],
    ids=["machine", "unknown process", "no boot id"],
)
def test_holder_elsewhere_is_replaced_only_after_expiry(
    store: Store, changes: dict[str, object]
) -> None:
    clock = Clock()
    put(store, elsewhere(**changes), now=clock.now)
    leases = Leases(store, clock=clock)
    clock.now += LEASE_SECONDS + CLOCK_SKEW_SECONDS - 1
    assert not leases.acquire(KEY, "mine")
    clock.now += 2
    assert leases.holder(KEY) is None
    assert leases.acquire(KEY, "mine")


def test_process_of_another_container_is_not_taken_for_dead(store: Store) -> None:
    holder = this_process().model_copy(update={"pid_namespace": "pid:[1]", "pid": 2**22 + 1})
    put(store, holder)
    assert not Leases(store, clock=lambda: 1e9).acquire(KEY, "mine")


def test_renewed_lease_outlives_its_first_expiry(store: Store) -> None:
    clock = Clock()
    put(store, elsewhere(), now=clock.now)
    leases = Leases(store, clock=clock)
    for _ in range(5):
        clock.now += LEASE_SECONDS / 3
        assert leases.renew(KEY, "theirs")
    assert not leases.acquire(KEY, "mine")


def test_expired_holder_learns_that_it_was_replaced(store: Store) -> None:
    clock = Clock()
    put(store, elsewhere(), now=clock.now)
    leases = Leases(store, clock=clock)
    clock.now += 2 * LEASE_SECONDS
    assert leases.held_by(KEY, "theirs")
    assert leases.acquire(KEY, "mine")
    assert not leases.renew(KEY, "theirs")
    leases.release(KEY, "theirs")
    assert leases.held_by(KEY, "mine")


def test_claim_below_the_highest_generation_backs_off(store: Store) -> None:
    """A rival that saw generation 5 dead, slept, and wakes when 6 is gone and 7 is held."""
    put(store, this_process(), generation=7)

    class Sleepy(Leases):
        slept = False

        @override
        def _top(self, key: str) -> tuple[int, Lease | None]:
            if not self.slept:
                self.slept = True
                return 5, Lease(
                    token="dead", holder=elsewhere(), acquired=0, expires=0, released=True
                )
            return super()._top(key)

    assert not Sleepy(store, clock=lambda: 1e9).acquire(KEY, "mine")
    assert store.list(f"leases/{KEY}") == ["7"]


def test_damaged_lease_is_replaced_when_it_is_old(store: Store) -> None:
    store.write(f"leases/{KEY}/1", b"")
    written = store.info(f"leases/{KEY}/1")
    assert written
    clock = Clock()
    leases = Leases(store, clock=clock)
    clock.now = written.modified + LEASE_SECONDS
    assert not leases.acquire(KEY, "mine")
    assert leases.holder(KEY) is None
    clock.now = written.modified + LEASE_SECONDS + CLOCK_SKEW_SECONDS + 1
    assert leases.acquire(KEY, "mine")


def test_describe_names_process_and_host() -> None:
    lease = Lease(token="", holder=elsewhere(host="node-7", pid=42), acquired=0, expires=0)
    assert describe(lease) == "process 42 on node-7"
