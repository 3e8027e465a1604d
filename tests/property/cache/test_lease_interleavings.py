"""Runners that take turns at single store operations, in any order, never hold one lease at once."""

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cache.holder import this_process
from pipeline.cache.leases import Lease, Leases
from pipeline.storage import Store
from tests.interleaving import Interleaving

KEY = "a" * 64
NUM_RUNNERS = 3
NUM_TURNS = 2


# Bursts: what goes wrong needs one runner to sleep while others take whole turns.
BURSTS = st.lists(st.tuples(st.integers(0, NUM_RUNNERS - 1), st.integers(1, 16)), max_size=10)


@settings(max_examples=200, deadline=None)
@given(BURSTS, st.sampled_from(["dead", "none"]))
def test_lease_of_a_dead_holder_goes_to_one_runner_at_a_time(
    bursts: list[tuple[int, int]], before: str
) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    dead = this_process().model_copy(update={"pid": 2**22 + 1})
    if before == "dead":
        lease = Lease(token="dead", holder=dead, acquired=0.0, expires=9e9)
        store.write(f"leases/{KEY}/3", lease.model_dump_json().encode())
    inside: set[str] = set()
    turns: list[str] = []

    def runner(store: Store) -> None:
        leases = Leases(store)
        for _ in range(NUM_TURNS):
            token = uuid.uuid4().hex
            if leases.acquire(KEY, token):
                assert not inside, "two runners hold the lease"
                inside.add(token)
                turns.append(token)
                assert leases.renew(KEY, token)
                assert leases.held_by(KEY, token)
                inside.remove(token)
                leases.release(KEY, token)

    Interleaving(store, [runner] * NUM_RUNNERS).follow(
        [number for number, length in bursts for _ in range(length)]
    )
    assert turns
    assert len(store.list(f"leases/{KEY}")) == 1
