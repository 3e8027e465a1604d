"""Reading ahead: in order, not too far, and gone when the run is over."""

import threading
import time
from collections.abc import Mapping

import pytest
from typing_extensions import override

from pipeline.training.loader import Loader
from pipeline.training.method import Batch, Picks
from pipeline.training.streams import Streams
from tests.training.methods import Regression


class Counting(Regression):
    reads = 0

    @override
    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        self.reads += 1
        return super().batch(picks)


def _loader(method: Regression, stop: int) -> Loader:
    streams = Streams(method.streams, seed=1, rank=0, size=1, num_micro=2)
    return Loader(method, streams, start=0, stop=stop, pin=False)


def test_loader_gives_every_step_in_order_with_its_weight() -> None:
    with _loader(Regression(), 5) as loader:
        taken = [loader.take() for _ in range(5)]
    assert [data.step for data in taken] == [0, 1, 2, 3, 4]
    assert {data.weight for data in taken} == {8.0}
    assert {len(data.micro_batches) for data in taken} == {2}


def test_loader_left_early_ends_its_thread_and_did_not_read_on() -> None:
    method = Counting()
    with _loader(method, 10**9) as loader:
        loader.take()
        time.sleep(0.3)
    assert method.reads <= 2 * 4
    assert not any(thread.name == "loader" for thread in threading.enumerate())


class Broken(Regression):
    @override
    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        raise KeyboardInterrupt


def test_loader_hands_on_whatever_its_thread_raised() -> None:
    with _loader(Broken(), 3) as loader, pytest.raises(KeyboardInterrupt):
        loader.take()
