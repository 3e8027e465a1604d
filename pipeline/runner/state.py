"""The state of a run: the fold of its events."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.runner import events as ev
from pipeline.runner.events import Entry


class StageStatus(StrEnum):
    """Where a stage stands."""

    WAITING = "waiting"
    """For inputs, for room on the machine, or for another runner that builds the same."""
    RUNNING = "running"
    RETRYING = "retrying"
    DONE = "done"
    REUSED = "reused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    """Where a run stands. A killed runner leaves RUNNING; who looks and finds it dead says KILLED."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


@dataclass
class AttemptState:
    """One attempt; `ended` is None while it runs, and for good when its runner was killed.

    `outlives`: it goes on without a runner, and the next one takes it up. `pending_since`: it waits
    in the cluster since then and holds nothing yet; `pending_seconds`: how long it did before.
    """

    number: int
    attempt_id: str
    folder: str
    session: int
    started: float
    num_processes: int
    gpus: int = 0
    ended: float | None = None
    exit_code: int | None = None
    exit_class: str | None = None
    rank: int | None = None
    cause: str = ""
    step: int | None = None
    reached: int | None = None
    outlives: bool = False
    pending_since: float | None = None
    pending_seconds: float = 0.0


@dataclass
class StageState:
    """Everything that is known of a stage, or of a driver's cell.

    Attributes:
        max_attempts: counted attempts it may take.
        note: why it stands where it stands: holder it waits for, what it is blocked by, pause.
        driver: the driver that proposed this cell; "" for a stage of the DAG.
    """

    address: str
    kind: str
    launch: str
    plan_key: str
    status: StageStatus
    reasons: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    max_attempts: int = 1
    driver: str = ""
    artifacts: dict[str, str] = field(default_factory=dict)
    content_key: str = ""
    attempts: list[AttemptState] = field(default_factory=list)
    failure: ev.StageFailed | None = None
    note: str = ""
    since: float = 0.0
    retry_at: float | None = None

    @property
    def started(self) -> float | None:
        """When its first attempt started (Unix), None before."""
        return self.attempts[0].started if self.attempts else None

    @property
    def busy_seconds(self) -> float:
        """Time its ended attempts took, over all sessions."""
        return sum(a.ended - a.started for a in self.attempts if a.ended is not None)

    @property
    def goes_on_alone(self) -> bool:
        """Whether its newest attempt has not ended and needs no runner to go on."""
        newest = self.attempts[-1] if self.attempts else None
        return newest is not None and newest.outlives and newest.ended is None

    @property
    def succeeded(self) -> bool:
        """Whether its outputs are there."""
        return self.status in (StageStatus.DONE, StageStatus.REUSED)


@dataclass
class RunState:
    """A run; `apply` is the only thing that changes it.

    Attributes:
        session: how many times a runner took the run up.
        session_started: when the newest session began, Unix time.
        earlier_seconds: what the sessions before it took, without the time between them.
        entries: events applied so far, which is also the number of the newest.
    """

    run: str
    dag: str = ""
    status: RunStatus = RunStatus.RUNNING
    cause: str = ""
    session: int = 0
    host: str = ""
    pid: int = 0
    started: float = 0.0
    session_started: float = 0.0
    earlier_seconds: float = 0.0
    updated: float = 0.0
    ended: float | None = None
    cancel_requested: bool = False
    entries: int = 0
    stages: dict[str, StageState] = field(default_factory=dict)
    cells: dict[str, list[ev.CellsProposed]] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Takes in the next event."""
        self.entries = entry.number
        _APPLY[type(entry.event)](self, entry.event, entry.time)
        self.updated = entry.time

    @property
    def busy_seconds(self) -> float:
        """Time that runners were at it, up to the newest event."""
        return self.earlier_seconds + (self.ended or self.updated) - self.session_started

    def runner_was_killed(self) -> None:
        """Takes in what no event says: nothing of this run is at work any more."""
        self.status = RunStatus.KILLED
        for stage in self.stages.values():
            if stage.goes_on_alone:
                stage.note = (
                    f"its runner was killed; it goes on, `pipeline resume {self.run}` follows"
                )
            elif stage.status in (StageStatus.RUNNING, StageStatus.RETRYING):
                stage.status, stage.note = StageStatus.CANCELLED, "its runner was killed"

    def artifacts_of(self, address: str) -> dict[str, str]:
        """Output port -> digest of a stage; empty before it has any."""
        return self.stages[address].artifacts

    def counts(self) -> dict[str, int]:
        """How many stages stand where; only what occurs."""
        counts: dict[str, int] = {}
        for stage in self.stages.values():
            counts[stage.status] = counts.get(stage.status, 0) + 1
        return counts

    def failures(self) -> list[ev.StageFailed]:
        """The failed stages' last words, in the DAG's order.

        A driver may go on after a failed cell, so cells speak only where their driver failed.
        """
        failed = [stage for stage in self.stages.values() if stage.failure is not None]
        addresses = {stage.address for stage in failed}
        return [
            stage.failure
            for stage in failed
            if stage.failure is not None and (not stage.driver or stage.driver in addresses)
        ]


def replay(run: str, entries: Iterable[Entry]) -> RunState:
    """The state after these events."""
    state = RunState(run)
    for entry in entries:
        state.apply(entry)
    return state


def _run_started(state: RunState, event: ev.RunStarted, time: float) -> None:
    if state.session:
        state.earlier_seconds = state.busy_seconds
    state.session += 1
    state.session_started = time
    state.started = state.started or time
    state.dag, state.host, state.pid = event.dag, event.host, event.pid
    state.status, state.cause, state.ended = RunStatus.RUNNING, "", None
    state.cancel_requested = False


_PLANNED = {
    "run": StageStatus.WAITING,
    "reuse": StageStatus.REUSED,
    "blocked": StageStatus.BLOCKED,
    "skip": StageStatus.SKIPPED,
}


def _stages_planned(state: RunState, event: ev.StagesPlanned, time: float) -> None:
    """A new plan keeps the attempts of earlier sessions and drops the stages it does not name."""
    before, state.stages = state.stages, {}
    for entry in event.stages:
        old = before.get(entry.stage)
        if old is not None and _stands(old, entry):
            state.stages[entry.stage] = old
            continue
        state.stages[entry.stage] = StageState(
            address=entry.stage,
            kind=entry.kind,
            launch=entry.launch,
            plan_key=entry.plan_key,
            status=_PLANNED[entry.action],
            reasons=entry.reasons,
            upstream=entry.upstream,
            max_attempts=entry.max_attempts,
            artifacts=dict(entry.artifacts),
            attempts=old.attempts if old else [],
            since=time,
        )
    asked_again = {entry.stage for entry in event.stages if entry.action == "run"}
    for stage in before.values():
        if stage.driver in asked_again and stage.attempts:
            # Cells are proposed again: the driver is a pure function of its history.
            stage.status, stage.failure, stage.note = StageStatus.WAITING, None, ""
            state.stages[stage.address] = stage
        elif stage.driver in state.stages and stage.driver not in asked_again:
            state.stages[stage.address] = stage
    state.cells = {
        driver: cells for driver, cells in state.cells.items() if driver not in asked_again
    }


def _stands(old: StageState, entry: ev.PlannedEntry) -> bool:
    """Whether what an earlier session of the run made of a stage is still how it stands."""
    if entry.action == "skip":
        # Not this session's matter; what failed still waits for someone to try it again.
        return old.succeeded or old.status in (StageStatus.FAILED, StageStatus.BLOCKED)
    is_same = old.plan_key == entry.plan_key and old.artifacts == entry.artifacts
    return entry.action == "reuse" and old.status is StageStatus.DONE and is_same


def _move(stage: StageState, status: StageStatus, time: float, note: str = "") -> None:
    stage.status, stage.since, stage.note, stage.retry_at = status, time, note, None


def _stage_reused(state: RunState, event: ev.StageReused, time: float) -> None:
    stage = state.stages[event.stage]
    # A driver's cell is looked up again in each session, by whichever one it was built.
    if stage.attempts and stage.artifacts == event.artifacts:
        _move(stage, StageStatus.DONE, time)
        return
    _move(stage, StageStatus.REUSED, time, event.reason)
    stage.artifacts = dict(event.artifacts)


def _code_accepted(state: RunState, event: ev.CodeAccepted, time: float) -> None:
    state.stages[event.stage].note = f"code {event.code_digest[:12]} accepted"


def _stage_waiting(state: RunState, event: ev.StageWaiting, time: float) -> None:
    _move(state.stages[event.stage], StageStatus.WAITING, time, f"{event.holder} builds it")


def _attempt_started(state: RunState, event: ev.AttemptStarted, time: float) -> None:
    stage = state.stages[event.stage]
    _move(stage, StageStatus.RUNNING, time)
    stage.content_key = event.content_key
    newest = stage.attempts[-1] if stage.attempts else None
    is_known = newest is not None and newest.attempt_id == event.attempt_id
    if event.how == "adopted" and newest is not None and is_known and newest.ended is None:
        newest.session = state.session
        return
    stage.attempts.append(
        AttemptState(
            number=event.attempt,
            attempt_id=event.attempt_id,
            folder=event.folder,
            session=state.session,
            started=time,
            num_processes=event.nodes * event.processes_per_node,
            gpus=event.gpus,
            outlives=event.outlives,
        )
    )


def _attempt_pending(state: RunState, event: ev.AttemptPending, time: float) -> None:
    stage = state.stages[event.stage]
    attempt = stage.attempts[-1]
    if event.why and attempt.pending_since is None:
        # The first word of a new attempt is a little late: it has held nothing before.
        is_new = stage.since == attempt.started
        attempt.pending_since = attempt.started if is_new else time
    elif not event.why and attempt.pending_since is not None:
        attempt.pending_seconds += time - attempt.pending_since
        attempt.pending_since = None
    status = StageStatus.WAITING if event.why else StageStatus.RUNNING
    _move(stage, status, time, event.why)


def _attempt_ended(state: RunState, event: ev.AttemptEnded, time: float) -> None:
    attempt = state.stages[event.stage].attempts[-1]
    attempt.ended, attempt.exit_code, attempt.exit_class = time, event.exit_code, event.exit_class
    if attempt.pending_since is not None:
        attempt.pending_seconds += time - attempt.pending_since
        attempt.pending_since = None
    attempt.rank, attempt.cause = event.rank, event.cause
    attempt.step, attempt.reached = event.step, event.reached


def _retry_scheduled(state: RunState, event: ev.RetryScheduled, time: float) -> None:
    stage = state.stages[event.stage]
    _move(stage, StageStatus.RETRYING, time, event.why)
    stage.retry_at = time + event.delay_seconds


def _stage_finished(state: RunState, event: ev.StageFinished, time: float) -> None:
    stage = state.stages[event.stage]
    _move(stage, StageStatus.DONE, time)
    stage.artifacts, stage.content_key = dict(event.artifacts), event.content_key


def _stage_failed(state: RunState, event: ev.StageFailed, time: float) -> None:
    stage = state.stages[event.stage]
    _move(stage, StageStatus.FAILED, time, event.cause)
    stage.failure = event


def _stage_cancelled(state: RunState, event: ev.StageCancelled, time: float) -> None:
    _move(state.stages[event.stage], StageStatus.CANCELLED, time, event.cause)


def _stage_blocked(state: RunState, event: ev.StageBlocked, time: float) -> None:
    _move(state.stages[event.stage], StageStatus.BLOCKED, time, f"{event.by} failed")


def _cells_proposed(state: RunState, event: ev.CellsProposed, time: float) -> None:
    state.cells.setdefault(event.stage, []).append(event)
    parent = state.stages[event.stage]
    _move(parent, StageStatus.RUNNING, time)
    for cell in event.cells:
        if cell.address not in state.stages:
            state.stages[cell.address] = StageState(
                address=cell.address,
                kind=cell.kind,
                launch="",
                plan_key=cell.plan_key,
                status=StageStatus.WAITING,
                driver=event.stage,
                max_attempts=parent.max_attempts,
                since=time,
            )


def _cancel_requested(state: RunState, event: ev.CancelRequested, time: float) -> None:
    state.cancel_requested = True


def _run_ended(state: RunState, event: ev.RunEnded, time: float) -> None:
    state.status, state.cause, state.ended = RunStatus(event.status), event.cause, time


_APPLY: dict[type[Any], Callable[[RunState, Any, float], None]] = {
    ev.RunStarted: _run_started,
    ev.StagesPlanned: _stages_planned,
    ev.StageReused: _stage_reused,
    ev.CodeAccepted: _code_accepted,
    ev.StageWaiting: _stage_waiting,
    ev.AttemptStarted: _attempt_started,
    ev.AttemptPending: _attempt_pending,
    ev.AttemptEnded: _attempt_ended,
    ev.RetryScheduled: _retry_scheduled,
    ev.StageFinished: _stage_finished,
    ev.StageFailed: _stage_failed,
    ev.StageCancelled: _stage_cancelled,
    ev.StageBlocked: _stage_blocked,
    ev.CellsProposed: _cells_proposed,
    ev.CancelRequested: _cancel_requested,
    ev.RunEnded: _run_ended,
}
