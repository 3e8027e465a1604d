"""Where a stage runs: the protocol between the runner and a machine or a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
        advice: what to do about it; "" when the exit code says it all.
        restarts: None: the attempt is over. n: the platform itself has started it anew for the
            n-th time, under the same id; what is told is how the start before ended.
        nodes: an elastic gang shall go on with so many; None for as many as there are.
    """

    attempt_id: str
    exit_code: int
    rank: int | None
    cause: str
    lost_node: bool = False
    advice: str = ""
    restarts: int | None = None
    nodes: int | None = None


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


@dataclass(frozen=True)
class Found:
    """An attempt that goes on without a runner; `restarts`: starts of it by the platform itself."""

    job: Job
    restarts: int = 0


@runtime_checkable
class OutlivingExecutor(Executor, Protocol):
    """An executor whose attempts go on when their runner is gone, and can be taken up by the next."""

    def find(self, plan_key: str, content_key: str) -> Found | None:
        """An attempt that builds this result, running or just done; None for none.

        Raises:
            InfrastructureError: the cluster does not answer.
        """

    def adopt(self, job: Job) -> None:
        """Follows an attempt that `find` gave, as if it had been submitted here."""

    def pending(self) -> Mapping[str, str]:
        """Attempt id -> why it does not run yet; without those that run."""
