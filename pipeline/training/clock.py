"""Where the time of a step goes, measured without making the host wait for the device."""

import time
from collections import deque
from typing import Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

_MOST_PENDING = 512
"""Laps that may wait for the device before it is asked, without waiting, which are over."""


class PhaseClock(Protocol):
    """Adds up the seconds of the phases between `start` and each `lap`."""

    def start(self) -> None:
        """What comes next is timed."""

    def lap(self, phase: str) -> None:
        """The phase that began with the last `start` or `lap` ends here."""

    def take(self) -> dict[str, float]:
        """Phase -> seconds since this was last called, of the laps that are known to be over."""


class HostClock(PhaseClock):
    """For a device that computes while the host waits: a CPU."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._since = 0.0

    @override
    def start(self) -> None:
        self._since = time.perf_counter()

    @override
    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._since
        self._since = now

    @override
    def take(self) -> dict[str, float]:
        seconds, self._seconds = self._seconds, {}
        return seconds


class DeviceClock(PhaseClock):
    """For an accelerator, by its own clock: marks in its stream, read when it has passed them.

    A step's phases are told some steps late, those before a synchronisation all together.
    """

    def __init__(self) -> None:
        self._since: torch.cuda.Event | None = None
        self._pending: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()
        self._seconds: dict[str, float] = {}

    @override
    def start(self) -> None:
        self._since = _mark()

    @override
    def lap(self, phase: str) -> None:
        assert self._since is not None  # `start` comes first
        now = _mark()
        self._pending.append((phase, self._since, now))
        self._since = now
        if len(self._pending) > _MOST_PENDING:
            self._settle()

    @override
    def take(self) -> dict[str, float]:
        self._settle()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _settle(self) -> None:
        while self._pending and self._pending[0][2].query():  # type: ignore[no-untyped-call]
            phase, begin, end = self._pending.popleft()
            seconds = begin.elapsed_time(end) / 1000
            self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds


def _mark() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def phase_clock(device: torch.device) -> PhaseClock:
    """The clock of a device."""
    return DeviceClock() if device.type == "cuda" else HostClock()


class LastGradient:
    """Ends the lap "backward" when this rank's own part of it is done.

    What is left of the backward pass then is waiting for other ranks: the part of the all-reduce
    that no arithmetic hides. The parameter whose gradient comes last is the same in every step of
    a model, so only that one is watched.
    """

    def __init__(self, clock: PhaseClock, parameter: nn.Parameter) -> None:
        """`parameter` is the one whose gradient came last before."""
        self._clock = clock
        self._seen = False
        parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]

    def _on_gradient(self, _parameter: Tensor) -> None:
        self._seen = True
        self._clock.lap("backward")

    def end_backward(self) -> None:
        """The call of the backward pass has returned."""
        self._clock.lap("all_reduce" if self._seen else "backward")
        self._seen = False
