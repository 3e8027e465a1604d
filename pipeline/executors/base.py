"""Where a stage runs: the protocol between the runner and a machine or a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.spec.job import Job


@dataclass(frozen=True)
class Capacity:
    """What the runner may use at one time; None is "as much as you like" (a cluster queues)."""

    cpus: int | None
    memory_bytes: int | None
    gpus: int | None


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended.

    Attributes:
        attempt_id: as in the Job.
        exit_code: of the first process that failed; 0 when all succeeded; 128 + n for signal n.
        rank: the rank that failed first, None when none did or the agent itself died.
        cause: one line for a person: what happened, where, the exception's message.
        lost_node: the machine went away (preemption by the platform): retried, not counted.
    """

    attempt_id: str
    exit_code: int
    rank: int | None
    cause: str
    lost_node: bool = False


class Executor(Protocol):
    """Starts attempts and tells how they end. Used from one thread."""

    @property
    def capacity(self) -> Capacity:
        """Upper bound on what runs side by side."""

    def submit(self, job: Job) -> None:
        """Starts an attempt and returns at once.

        Raises:
            InfrastructureError: the machine or cluster refused.
        """

    def wait(self, timeout_seconds: float) -> Sequence[AttemptEnd]:
        """Blocks until at least one attempt ended or the time is over; each end is told once."""

    def stop(self, attempt_id: str, *, now: bool) -> None:
        """Asks for a checkpoint and an end (SIGTERM), or ends it at once (`now`)."""

    def close(self) -> None:
        """Ends what still runs and frees every resource."""
