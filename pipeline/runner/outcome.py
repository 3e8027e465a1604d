"""What the caller of a run gives and gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from pipeline.errors import (
    Cancelled,
    InfrastructureError,
    PipelineError,
    StageFailed,
    WorkerExit,
)
from pipeline.runner.events import Entry
from pipeline.runner.last_words import failure_text
from pipeline.runner.state import RunState, RunStatus


@dataclass(frozen=True)
class RunOptions:
    """How to run a plan; none of it changes a result.

    Attributes:
        workdir: local folder, `.pipeline`.
        attempts: local folder under whose `runs/<run>/stages/` attempts live; None for `workdir`.
        jobs: attempts at one time at most, None for as many as the machine holds.
        keep_going: after a failure go on with everything that does not depend on it.
        grace_seconds: how long an attempt may take to save and end once it was asked to.
    """

    workdir: Path
    jobs: int | None = None
    keep_going: bool = False
    grace_seconds: float = 120.0
    attempts: Path | None = None


class Listener(Protocol):
    """Is told what happens, in the runner's thread; must not raise."""

    def event(self, entry: Entry, state: RunState) -> None:
        """After each event, which `state` contains already."""

    def tick(self, state: RunState) -> None:
        """About twice a second while attempts run: time to look at their progress files."""


class SilentListener:
    """Hears nothing."""

    def event(self, entry: Entry, state: RunState) -> None:
        """Does nothing."""

    def tick(self, state: RunState) -> None:
        """Does nothing."""


class Listeners(Listener):
    """Tells several, in order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    @override
    def event(self, entry: Entry, state: RunState) -> None:
        for listener in self._listeners:
            listener.event(entry, state)

    @override
    def tick(self, state: RunState) -> None:
        for listener in self._listeners:
            listener.tick(state)


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, failures and all."""

    state: RunState

    @property
    def error(self) -> PipelineError | None:
        """What the command line raises once it has printed the summary; None for success."""
        if self.state.status is RunStatus.SUCCEEDED:
            return None
        if self.state.status is RunStatus.CANCELLED:
            return Cancelled(
                f"run {self.state.run} was stopped; `pipeline resume {self.state.run}` goes on"
            )
        failures = self.state.failures()
        message = "\n".join(failure_text(one) for one in failures)
        if all(one.exit_code == WorkerExit.STORE for one in failures):
            return InfrastructureError(message)
        return StageFailed(message)
