"""What can happen in a run; every state of a run is the fold of these, and nothing else."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.errors import StoreError, plain_text
from pipeline.storage.digests import canonical_json

_Words = Annotated[str, BeforeValidator(plain_text)]
"""What comes from outside: exceptions, hosts, file names."""

How = Literal["plan key", "content key", "accepted code"]
"""What matched when a result was reused."""


class _Event(BaseModel):
    """One fact, past tense; the journal adds its number and its time."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedEntry(BaseModel):
    """What the plan says of one stage: address, decision, reasons, and what it waits for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    kind: str
    launch: str
    plan_key: str
    action: str
    reasons: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    artifacts: dict[str, str] = {}
    max_attempts: int = 1


class RunStarted(_Event):
    """A runner took the run up: the first event of a run, and of each resumption."""

    kind: Literal["run_started"] = "run_started"
    dag: str
    host: _Words
    pid: int


class StagesPlanned(_Event):
    """The plan of this session. One event for all stages: a cached DAG costs one write."""

    kind: Literal["stages_planned"] = "stages_planned"
    stages: tuple[PlannedEntry, ...]


class StageReused(_Event):
    """A result was found only once the inputs were known, or came from another runner."""

    kind: Literal["stage_reused"] = "stage_reused"
    stage: str
    how: How
    reason: _Words
    artifacts: dict[str, str]


class CodeAccepted(_Event):
    """The user keeps a result although the code behind it changed."""

    kind: Literal["code_accepted"] = "code_accepted"
    stage: str
    code_digest: str
    plan_key: str


class StageWaiting(_Event):
    """Another runner builds the same result; this one waits to reuse it."""

    kind: Literal["stage_waiting"] = "stage_waiting"
    stage: str
    holder: _Words


class AttemptStarted(_Event):
    """An attempt was handed to the executor; `folder` holds its job, logs and progress.

    `outlives`: it goes on when its runner is gone. `how` is `adopted` when an earlier runner had
    started it, `restarted` when the cluster did, under the id of the attempt before.
    """

    kind: Literal["attempt_started"] = "attempt_started"
    stage: str
    attempt: int
    attempt_id: str
    content_key: str
    folder: str
    nodes: int
    processes_per_node: int
    gpus: int = 0
    outlives: bool = False
    how: Literal["submitted", "adopted", "restarted"] = "submitted"


class AttemptPending(_Event):
    """Why an attempt that was handed over does not run yet; "" once it runs."""

    kind: Literal["attempt_pending"] = "attempt_pending"
    stage: str
    why: _Words


class AttemptEnded(_Event):
    """How an attempt ended.

    `step` is the newest durable training step, None without one; `reached` the last one that its
    progress told of, saved or not.
    """

    kind: Literal["attempt_ended"] = "attempt_ended"
    stage: str
    attempt: int
    exit_code: int
    exit_class: Literal["done", "fatal", "free", "counted", "cancelled"]
    rank: int | None = None
    cause: _Words = ""
    step: int | None = None
    reached: int | None = None


class RetryScheduled(_Event):
    """The next attempt starts after the pause."""

    kind: Literal["retry_scheduled"] = "retry_scheduled"
    stage: str
    attempt: int
    delay_seconds: float
    why: _Words


class StageFinished(_Event):
    """Outputs are committed and recorded under both keys."""

    kind: Literal["stage_finished"] = "stage_finished"
    stage: str
    content_key: str
    artifacts: dict[str, str]


class StageFailed(_Event):
    """No further attempt; everything a person needs to act."""

    kind: Literal["stage_failed"] = "stage_failed"
    stage: str
    attempt: int
    rank: int | None
    exit_code: int
    exit_name: str
    cause: _Words
    log: _Words
    advice: _Words


class StageCancelled(_Event):
    """Stopped on request; what it saved stays for the next run."""

    kind: Literal["stage_cancelled"] = "stage_cancelled"
    stage: str
    cause: _Words


class StageBlocked(_Event):
    """Cannot run because the stage `by`, upstream of it, failed."""

    kind: Literal["stage_blocked"] = "stage_blocked"
    stage: str
    by: str


class ProposedCell(BaseModel):
    """One cell a driver asked for, as it was planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str
    kind: str
    plan_key: str


class CellsProposed(_Event):
    """A driver's answer to the history of finished cells number 1 to `history`."""

    kind: Literal["cells_proposed"] = "cells_proposed"
    stage: str
    history: int
    cells: tuple[ProposedCell, ...]


class CancelRequested(_Event):
    """Someone asked the run to stop; `now` without saving."""

    kind: Literal["cancel_requested"] = "cancel_requested"
    now: bool


class RunEnded(_Event):
    """The runner's last word in this session."""

    kind: Literal["run_ended"] = "run_ended"
    status: Literal["succeeded", "failed", "cancelled", "interrupted"]
    counts: dict[str, int]
    cause: _Words = ""


Event = (
    RunStarted
    | StagesPlanned
    | StageReused
    | CodeAccepted
    | StageWaiting
    | AttemptStarted
    | AttemptPending
    | AttemptEnded
    | RetryScheduled
    | StageFinished
    | StageFailed
    | StageCancelled
    | StageBlocked
    | CellsProposed
    | CancelRequested
    | RunEnded
)

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


@dataclass(frozen=True)
class Entry:
    """An event in the journal: its number, from 1 without gaps, and when it was written (Unix)."""

    number: int
    time: float
    event: Event


def encode(entry: Entry) -> bytes:
    """The entry as one canonical JSON object: the event's fields, `n` and `time`."""
    fields: dict[str, Any] = entry.event.model_dump(mode="json")
    return canonical_json({"n": entry.number, "time": entry.time, **fields})


def decode(data: bytes, place: str) -> Entry:
    """Reads what `encode` wrote.

    Args:
        data: one event object.
        place: where it came from, for the message.

    Raises:
        StoreError: not an event of this version.
    """
    try:
        fields = _OBJECT.validate_json(data)
        number, time = int(fields.pop("n")), float(fields.pop("time"))
        return Entry(number, time, _EVENT.validate_python(fields))
    except (ValidationError, KeyError, TypeError, ValueError) as exc:
        msg = f"{place}: not an event this version understands: {exc}"
        raise StoreError(msg) from exc


_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
