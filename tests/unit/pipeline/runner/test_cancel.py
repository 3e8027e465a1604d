"""Requests to stop, by signal and through the store."""

import os
import signal
from pathlib import Path

import pytest

from pipeline.runner.cancel import (
    Cancellation,
    StopRequests,
    cancel_on_signals,
    request_cancel,
)
from pipeline.storage import Store


@pytest.mark.parametrize(
    ("number", "same_seconds"), [(signal.SIGINT, 1.0), (signal.SIGTERM, 2.0), (signal.SIGHUP, 2.0)]
)
def test_cancel_on_signals_counts_what_is_asked_again_and_not_what_is_passed_on(
    number: signal.Signals, same_seconds: float
) -> None:
    before = signal.getsignal(number)
    now = 100.0
    with cancel_on_signals(clock=lambda: now) as cancellation:
        os.kill(os.getpid(), number)
        now += same_seconds - 0.1
        os.kill(os.getpid(), number)
        assert cancellation.requests == 1
        now += 0.1
        os.kill(os.getpid(), number)
        assert cancellation.requests == 2
    assert signal.getsignal(number) is before


def test_stop_requests_tell_each_step_once(tmp_path: Path) -> None:
    cancellation = Cancellation()
    stops = StopRequests(cancellation, Store(tmp_path), "r")
    assert stops.pending() == 0
    cancellation.request()
    assert [stops.pending(), stops.pending()] == [1, 0]
    cancellation.request()
    cancellation.request()
    assert [stops.pending(), stops.pending()] == [2, 0]


@pytest.mark.parametrize(("now", "expected"), [(False, 1), (True, 2)])
def test_stop_requests_hear_the_store(tmp_path: Path, now: bool, expected: int) -> None:
    store = Store(tmp_path)
    request_cancel(store, "r", now=True)
    stops = StopRequests(Cancellation(), store, "r")
    request_cancel(store, "r", now=now)
    assert stops.pending() == expected
    assert StopRequests(Cancellation(), store, "r").pending() == 0


def test_request_now_means_at_once() -> None:
    cancellation = Cancellation()
    cancellation.request(now=True)
    assert cancellation.requests == 2
