"""An attempt on the cluster, followed from its objects: what is told of it, what is to be done.

Decides and does nothing itself; the executor does. Time is an argument.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.errors import WorkerExit
from pipeline.executors.base import AttemptEnd
from pipeline.executors.kubernetes.pods import KILLED, PodView
from pipeline.executors.kubernetes.resources import Resource
from pipeline.executors.kubernetes.states import (
    Failure,
    Pending,
    Workload,
    first_failure,
    newest_pods,
    pending,
)
from pipeline.spec.job import Job
from pipeline.spec.resources import NodeRange
from pipeline.spec.stage import Launch

_BEHIND_SECONDS = 10.0
"""Each kind has a watch of its own: a workload's end may be heard before that of its pods."""
_STARTING_SECONDS = 15.0
"""A pod that takes longer to start is worth a word."""
_UNSEEN_SECONDS = 120.0
"""A workload that no watch has shown by then was deleted before one could."""


@dataclass(frozen=True)
class Patience:
    """How long an attempt waits for what may not come.

    Attributes:
        node_seconds: an elastic gang, for a node that is gone.
        image_seconds: for an image that the registry does not have.
        registry_seconds: for one that may be there: a registry that is away comes back.
        no_fit_seconds: for a node larger than any there is: an autoscaler may bring it.
    """

    node_seconds: float = 300.0
    image_seconds: float = 30.0
    registry_seconds: float = 180.0
    no_fit_seconds: float = 300.0


@dataclass(frozen=True)
class Tell:
    """The runner is to hear this. With `end.restarts` the attempt goes on."""

    end: AttemptEnd


@dataclass(frozen=True)
class EndIt:
    """The attempt is to be ended, and `end` told once nothing of it runs."""

    end: AttemptEnd


@dataclass(frozen=True)
class Hasten:
    """These pods have nothing left to save and are to end soon."""

    pods: tuple[str, ...]


Step = Tell | EndIt | Hasten


@dataclass(frozen=True)
class Sayings:
    """What the cluster says: name of an object -> warning; name of a workload -> Kueue's reason."""

    of_objects: Mapping[str, str]
    of_workloads: Mapping[str, str]


@dataclass
class Attempt:
    """An attempt whose end was not told.

    Attributes:
        pods: name -> last state, of those that are gone too.
        restarts: starts by the cluster that were told.
        replaced: failed pods of a process that were told.
        why: what it waits for; "" while it runs.
        is_asked: whether it was asked to stop; `ending` is the end that was decided for it then.
        failing: the start of a gang that its Job has given up; -1 for none.
        is_seen: whether the watch has shown its workload.
        submitted: when it was, Unix time.
    """

    job: Job
    resource: Resource
    name: str
    patience: Patience = Patience()
    pods: dict[str, PodView] = field(default_factory=dict)
    restarts: int = 0
    replaced: int = 0
    why: str = ""
    is_asked: bool = False
    ending: AttemptEnd | None = None
    failing: int = -1
    is_seen: bool = False
    submitted: float = 0.0
    _unexplained: float | None = None
    _hastened: int = -1
    _waits_for: str = ""
    _waits_since: float = 0.0

    def look(self, workload: Workload | None, sayings: Sayings, now: float) -> list[Step]:
        """What has become of it.

        Args:
            workload: its JobSet or Job; None when there is none.
            sayings: of the cluster.
            now: Unix time.
        """
        if workload is None:
            is_gone = self.is_seen or self.is_asked or now > self.submitted + _UNSEEN_SECONDS
            return self._look_gone(now) if is_gone else []
        is_ours = workload.attempt_id == self.job.attempt_id  # else the watch is behind
        self.is_seen = self.is_seen or is_ours
        if self.is_asked or not is_ours:
            return []
        if self._is_behind(workload, now):
            return []
        steps: list[Step] = []
        if workload.restarts > self.restarts:
            steps.append(self._tell_restart(workload))
        current = newest_pods(p for p in self.pods.values() if p.restart == workload.restarts)
        if workload.is_failing or self.failing == workload.restarts:
            steps += self._hasten(workload, current)
        if workload.verdict:
            return [*steps, *self._look_ended(workload, current, now)]
        return [*steps, *self._look_going(workload, current, sayings, now)]

    def _look_ended(self, workload: Workload, pods: Sequence[PodView], now: float) -> list[Step]:
        if workload.verdict == "complete":
            return [Tell(AttemptEnd(self.job.attempt_id, 0, None, ""))]
        end = self._describe(first_failure(pods), workload.message)
        return [Tell(end)] if _are_over(pods, now) else []

    def _look_going(
        self, workload: Workload, pods: Sequence[PodView], sayings: Sayings, now: float
    ) -> list[Step]:
        if lost := [pod for pod in pods if pod.is_overdue(now)]:
            return [self._give_up_node(lost[0])]
        replaced = self._tell_replaced_pod() if self.job.launch is Launch.PROCESS else []
        return [*replaced, *self._look_pending(workload, pods, sayings, now)]

    def _is_behind(self, workload: Workload, now: float) -> bool:
        """Whether a failure is known but not yet which pod's: that is heard in a moment."""
        start = self.restarts if workload.restarts > self.restarts else workload.restarts
        is_failed = workload.restarts > self.restarts or workload.verdict == "failed"
        pods = [pod for pod in self.pods.values() if pod.restart == start]
        if not is_failed or first_failure(newest_pods(pods)) is not None:
            self._unexplained = None
            return False
        self._unexplained = self._unexplained or now
        return now < self._unexplained + _BEHIND_SECONDS

    def _look_pending(
        self, workload: Workload, pods: Sequence[PodView], sayings: Sayings, now: float
    ) -> list[Step]:
        is_many = self.job.launch is Launch.WORKERS
        waits = pending(
            workload,
            pods,
            sayings.of_objects,
            queue_says=sayings.of_workloads.get(self.name, ""),
            num_pods=self.job.world_size if is_many else self.job.nodes,
        )
        kind = waits.kind if waits else ""
        if kind != self._waits_for:
            self._waits_for, self._waits_since = kind, now
        is_told = waits and (kind != "starting" or now - self._waits_since >= _STARTING_SECONDS)
        limit = self._limit(waits) if waits else None
        hope = "" if limit is None else f"; gives up after {limit:.0f} s"
        self.why = f"{waits.why}{hope}" if waits and is_told else ""
        return self._enforce(waits, pods, now - self._waits_since) if waits else []

    def _enforce(self, waits: Pending, pods: Sequence[PodView], seconds: float) -> list[Step]:
        """Ends what has waited too long for something that will not come."""
        job, patience = self.job, self.patience
        if self._is_elastic and waits.kind == "unschedulable":
            placed = sum(bool(pod.node) and not pod.is_over for pod in pods)
            if seconds < patience.node_seconds or placed < job.resources.min_nodes:
                return []
            cause = f"{placed} of {job.nodes} nodes are there: goes on with those ({waits.why})"
            end = AttemptEnd(job.attempt_id, KILLED, None, cause, lost_node=True, nodes=placed)
            return [EndIt(end)]
        limit = self._limit(waits)
        if limit is None or seconds < limit:
            return []
        code = int(WorkerExit.CONFIG)
        return [EndIt(AttemptEnd(job.attempt_id, code, None, waits.why, advice=waits.advice))]

    def _limit(self, waits: Pending) -> float | None:
        """How long this may be waited for; None for as long as it takes."""
        patience = self.patience
        if waits.kind in ("image", "config"):
            return patience.image_seconds if waits.hopeless else patience.registry_seconds
        if waits.kind == "unschedulable" and waits.hopeless and not self._is_elastic:
            return patience.no_fit_seconds
        return None

    @property
    def _is_elastic(self) -> bool:
        resources = self.job.resources
        is_range = isinstance(resources.nodes, NodeRange)
        is_gang = self.job.launch is Launch.GANG
        return is_range and is_gang and self.job.nodes > resources.min_nodes

    def _give_up_node(self, pod: PodView) -> EndIt:
        """A pod that does not end blocks its Job for ever: the next attempt does without its node.

        What may still run there has no lease any more.
        """
        cause = (
            f"pod {pod.name} does not end: its {pod.place} does not answer. If the machine is gone, "
            f"`kubectl delete node` or `kubectl delete pod --force {pod.name}` clears it away"
        )
        return EndIt(AttemptEnd(self.job.attempt_id, KILLED, None, cause, lost_node=True))

    def _tell_restart(self, workload: Workload) -> Tell:
        """The cluster has started a gang anew; how the start before ended."""
        before = [pod for pod in self.pods.values() if pod.restart < workload.restarts]
        newest = max((pod.restart for pod in before), default=0)
        failure = first_failure(newest_pods(pod for pod in before if pod.restart == newest))
        self.restarts = workload.restarts
        gone = {pod.name for pod in before}
        self.pods = {name: pod for name, pod in self.pods.items() if name not in gone}
        end = self._describe(failure, "the cluster started the gang anew")
        return Tell(replace(end, restarts=workload.restarts))

    def _tell_replaced_pod(self) -> list[Step]:
        """A process's pod that failed and was replaced by its Job."""
        over = sorted((p for p in self.pods.values() if p.is_over), key=lambda one: one.created)
        fresh = over[self.replaced :]
        if not fresh or len(self.pods) == len(over):
            return []
        self.replaced = len(over)
        failure = first_failure(fresh)
        return [Tell(replace(self._describe(failure, ""), restarts=0))] if failure else []

    def _look_gone(self, now: float) -> list[Step]:
        """The workload was deleted: by us, or by somebody else."""
        pods = newest_pods(self.pods.values())
        if not _are_over(pods, now):
            return []
        if self.ending is not None:
            return [Tell(self.ending)]
        failure = first_failure(pods)
        what = f"its {self.resource.kind} {self.name} was deleted"
        if self.is_asked:
            what = "asked to stop"
        end = self._describe(failure, "")
        cause = f"{what}; {end.cause}" if failure else what
        if self.is_asked and end.exit_code == WorkerExit.PREEMPTED:
            cause = f"{what}; state saved"
        return [Tell(replace(end, cause=cause, lost_node=True))]

    def _hasten(self, workload: Workload, pods: Sequence[PodView]) -> list[Step]:
        """Ends what is left of a gang of which a rank crashed: its peers hang in a collective.

        One that was preempted is left its time: the peers save the same step.
        """
        if self.job.launch is not Launch.GANG or self._hastened >= workload.restarts:
            return []
        failure = first_failure(pods)
        if failure is None or failure.end.lost or failure.end.exit_code == WorkerExit.PREEMPTED:
            return []
        self._hastened = workload.restarts
        left = tuple(pod.name for pod in pods if not pod.is_over)
        return [Hasten(left)] if left else []

    def _describe(self, failure: Failure | None, otherwise: str) -> AttemptEnd:
        job = self.job
        if failure is None:
            cause = otherwise or "its pods left no trace"
            return AttemptEnd(job.attempt_id, KILLED, None, cause, lost_node=True)
        end, rank = failure.end, failure.end.rank
        if rank is None and job.launch is Launch.GANG:
            rank = failure.pod.index * job.processes_per_node
        elif rank is None and job.launch is Launch.WORKERS:
            rank = failure.pod.index
        return AttemptEnd(
            job.attempt_id,
            end.exit_code,
            rank,
            end.cause,
            lost_node=end.lost,
            advice=end.advice,
        )


def _are_over(pods: Iterable[PodView], now: float) -> bool:
    """Whether nothing runs any more: ended, gone, or long overdue on a node that must be gone."""
    return all(pod.is_over or pod.is_overdue(now) for pod in pods)
