"""Runs attempts as JobSets and Jobs of a cluster; they outlive the runner, and the next adopts them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from typing_extensions import override

from pipeline.errors import InfrastructureError, WorkerExit
from pipeline.executors.base import AttemptEnd, Capacity, OutlivingExecutor
from pipeline.executors.kubernetes.client import ApiError, Cluster, Object
from pipeline.executors.kubernetes.events import Warnings
from pipeline.executors.kubernetes.mirror import Mirror, Watched
from pipeline.executors.kubernetes.pods import (
    JOBSET_NAME,
    KILLED,
    RESTART,
    PodView,
    trim_pod,
    view_pod,
)
from pipeline.executors.kubernetes.resources import (
    EVENT,
    JOB,
    JOBSET,
    POD,
    WORKLOAD,
    Resource,
    resource_of,
)
from pipeline.executors.kubernetes.states import (
    Failure,
    Pending,
    Workload,
    first_failure,
    newest_pods,
    pending,
    trim_workload,
    view_workload,
)
from pipeline.spec.job import Job
from pipeline.spec.resources import NodeRange
from pipeline.spec.stage import Launch

_log = logging.getLogger(__name__)

Render = Callable[[Job], list[Object]]
"""The objects of an attempt, its JobSet or Job first."""
ReadOrder = Callable[[Object], Job | None]
"""The job in a JobSet or Job that was rendered; None where there is none."""

OURS = "app.kubernetes.io/managed-by=pipeline,app.kubernetes.io/component=stage"
_LIST_SECONDS = 60.0
_REPLACE_SECONDS = 180.0
_NOW_GRACE_SECONDS = 1
_BROKEN_GANG_SECONDS = 5
"""Ranks of a broken gang hang in a collective; there is nothing they could save."""
_LOOK_SECONDS = 2.0
"""Between looks at attempts of which nothing new is heard, for what only time decides."""
_UNREACHABLE_SECONDS = 60.0
"""On top of a pod's grace period: its node does not answer, and nobody will tell how it ended."""
_IMAGE_SECONDS = 30.0
_SLOW_IMAGE_SECONDS = 600.0
"""A registry that is away comes back; an image that does not exist never does."""
_NO_FIT_SECONDS = 300.0
"""Time for an autoscaler to bring the node that no present node is."""


@dataclass
class _Attempt:
    """An attempt whose end was not told.

    Attributes:
        pods: name -> last state, of those that are gone too.
        restarts: starts by the cluster that were told.
        replaced: failed pods of a process that were told.
        since: kind of what it waits for -> since when, monotonic.
        why: what it waits for; "" while it runs.
        is_asked: whether it was asked to stop; `ending` is the end that was decided for it then.
        failing: the start of a gang that its Job has given up; -1 for none.
        hastened: the start whose pods were given less time to end.
        is_seen: whether the watch has shown its workload.
    """

    job: Job
    resource: Resource
    name: str
    pods: dict[str, PodView] = field(default_factory=dict)
    restarts: int = 0
    replaced: int = 0
    since: dict[str, float] = field(default_factory=dict)
    why: str = "its pods are not made yet"
    is_asked: bool = False
    ending: AttemptEnd | None = None
    failing: int = -1
    hastened: int = -1
    is_seen: bool = False


class KubernetesExecutor(OutlivingExecutor):
    """Implements `OutlivingExecutor`. One watch a kind follows all attempts."""

    def __init__(
        self,
        cluster: Cluster,
        render: Render,
        read_order: ReadOrder,
        *,
        uses_jobsets: bool = True,
        uses_queue: bool = False,
        node_wait_seconds: float = 300.0,
    ) -> None:
        """Starts to watch, and returns once all that is there was listed.

        Args:
            cluster: where attempts run; closed with the executor.
            render: makes an attempt's objects.
            read_order: reads its job back from its JobSet or Job.
            uses_jobsets: gangs are JobSets, so their kind must be there.
            uses_queue: Kueue admits them: its Workloads say why one waits.
            node_wait_seconds: how long an elastic gang waits for a missing node.

        Raises:
            InfrastructureError: the cluster cannot be read.
        """
        self._cluster = cluster
        self._render = render
        self._read_order = read_order
        self._node_wait = node_wait_seconds
        self._uses_jobsets = uses_jobsets
        self._warnings = Warnings()
        kinds = [
            Watched(JOB, trim_workload, OURS),
            Watched(POD, trim_pod, OURS),
            Watched(EVENT, self._warnings.trim, fields="type=Warning", is_optional=True),
        ]
        if uses_jobsets:
            kinds.append(Watched(JOBSET, trim_workload, OURS))
        if uses_queue:
            kinds.append(Watched(WORKLOAD, self._warnings.trim_workload, is_optional=True))
        self._attempts: dict[str, _Attempt] = {}
        self._found: dict[str, tuple[Resource, str]] = {}
        self._told: list[AttemptEnd] = []
        self._next_look = 0.0
        self._mirror = Mirror(cluster, kinds)
        try:
            self._mirror.wait_until_complete(_LIST_SECONDS)
        except ApiError:
            self.close()
            raise

    @property
    @override
    def capacity(self) -> Capacity:
        return Capacity(cpus=None, memory_bytes=None, gpus=None)

    # --- starting

    @override
    def submit(self, job: Job) -> None:
        objects = self._render(job)
        workload = objects[0]
        resource, name = resource_of(workload), workload["metadata"]["name"]
        self._make_room(resource, name, job)
        made = self._cluster.apply(resource, workload)
        if made["metadata"].get("deletionTimestamp"):
            msg = f"{resource.kind} {name} is being deleted by someone else; resume in a minute"
            raise InfrastructureError(msg)
        owner = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": name,
            "uid": made["metadata"]["uid"],
        }
        for item in objects[1:]:
            # Goes when the workload goes, whoever deletes that.
            item["metadata"]["ownerReferences"] = [owner]
            self._cluster.apply(resource_of(item), item)
        self._attempts[job.attempt_id] = _Attempt(job, resource, name)

    def _make_room(self, resource: Resource, name: str, job: Job) -> None:
        """Removes what others left of this stage: what runs without a lease, what has the name.

        Whoever submits holds the lease of the result, so nobody else may build it.
        """
        left = []
        for there, item in self._mirror.objects(resource).items():
            annotations = item["metadata"]["annotations"]
            same = (
                annotations.get("pipeline/plan-key") == job.plan_key
                and annotations.get("pipeline/store") == job.store
                and annotations.get("pipeline/attempt-id") != job.attempt_id
            )
            if there == name or (same and not view_workload(item).verdict):
                left.append(there)
        for there in left:
            self._cluster.delete(resource, there)
        give_up = time.monotonic() + _REPLACE_SECONDS
        while any(
            there in self._mirror.objects(resource) or self._living_pods(there) for there in left
        ):
            if time.monotonic() > give_up:
                msg = (
                    f"{resource.kind} {', '.join(left)} of an earlier attempt does not go away; "
                    f"see `kubectl -n {self._cluster.namespace} get pods -l "
                    f"pipeline/plan-key={job.plan_key[:32]}`"
                )
                raise InfrastructureError(msg)
            self._pump(0.2)

    def _living_pods(self, owner: str) -> bool:
        pods = (view_pod(pod) for pod in self._mirror.objects(POD).values())
        return any(pod.owner == owner and not pod.is_over for pod in pods)

    @override
    def find(self, plan_key: str, content_key: str) -> Job | None:
        wanted = {"pipeline/plan-key": plan_key, "pipeline/content-key": content_key}
        alive = []
        for resource in (JOBSET, JOB) if self._uses_jobsets else (JOB,):
            for item in self._mirror.objects(resource).values():
                is_wanted = wanted.items() <= item["metadata"]["annotations"].items()
                workload = view_workload(item)
                # What failed was seen to fail, or is tried anew: whoever runs again changed something.
                if is_wanted and workload.verdict != "failed" and not workload.is_gone:
                    alive.append((workload, resource))
        if not alive:
            return None
        workload, resource = max(alive, key=lambda one: one[0].created)
        item = self._cluster.get(resource, workload.name)
        if item is None or item["metadata"].get("uid") != workload.uid:
            return None
        job = self._read_order(item)
        if job is None or not self._is_as_rendered(job, item):
            return None
        self._found[job.attempt_id] = (resource, workload.name)
        return job

    def _is_as_rendered(self, job: Job, item: Object) -> bool:
        """Whether it runs the image that we would run: one that hangs on a bad one is not taken."""
        ours, theirs = _images(self._render(job)[0]), _images(item)
        return ours == theirs

    @override
    def adopt(self, job: Job) -> None:
        resource, name = self._found.pop(job.attempt_id)
        attempt = _Attempt(job, resource, name, is_seen=True)
        self._attempts[job.attempt_id] = attempt
        pods = (view_pod(pod) for pod in self._mirror.objects(POD).values())
        attempt.pods = {pod.name: pod for pod in pods if pod.owner == name}
        # Starts that ended while nobody looked are not told: only the current one can be seen.
        there = self._mirror.objects(resource).get(name)
        attempt.restarts = view_workload(there).restarts if there else 0
        attempt.replaced = sum(pod.is_over for pod in attempt.pods.values())
        self._next_look = 0.0

    # --- following

    @override
    def pending(self) -> Mapping[str, str]:
        return {key: attempt.why for key, attempt in self._attempts.items() if attempt.why}

    @override
    def wait(self, timeout_seconds: float) -> Sequence[AttemptEnd]:
        deadline = time.monotonic() + timeout_seconds
        while not self._told:
            self._pump(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                break
        told, self._told = self._told, []
        return told

    def _pump(self, seconds: float) -> None:
        """Takes in what changes within this time, at the latest what only time decides."""
        pause = min(seconds, max(0.0, self._next_look - time.monotonic()))
        touched = self._take_in(self._mirror.take_changes(pause))
        if time.monotonic() >= self._next_look:
            # An image that does not come, a node that does not answer: nothing changes there.
            self._next_look = time.monotonic() + _LOOK_SECONDS
            touched = list(self._attempts.values())
        for attempt in touched:
            self._look(attempt)

    def _take_in(self, changes: Mapping[tuple[str, str], Object]) -> list[_Attempt]:
        """Which attempts the changes are about."""
        names = {attempt.name: attempt for attempt in self._attempts.values()}
        touched: dict[str, _Attempt] = {}
        for (plural, name), item in changes.items():
            attempt = names.get(name)
            if plural == POD.plural:
                pod = view_pod(item)
                attempt = names.get(pod.owner)
                if attempt is not None:
                    attempt.pods[pod.name] = pod
            elif plural in (EVENT.plural, WORKLOAD.plural):
                attempt = names.get(self._warnings.owner_of(item))
            elif plural == JOB.plural and attempt is None:
                labels = item["metadata"]["labels"]
                attempt = names.get(labels.get(JOBSET_NAME, ""))
                if attempt is not None and view_workload(item).is_failing:
                    attempt.failing = int(labels.get(RESTART) or 0)
            if attempt is not None:
                touched[attempt.name] = attempt
        return list(touched.values())

    def _look(self, attempt: _Attempt) -> None:
        """Tells what has become of an attempt, if anything has."""
        item = self._mirror.objects(attempt.resource).get(attempt.name)
        if item is None:
            if attempt.is_seen or attempt.is_asked:
                self._look_gone(attempt)
            return
        workload = view_workload(item)
        if workload.attempt_id != attempt.job.attempt_id:
            return  # of an earlier attempt; the watch is behind
        attempt.is_seen = True
        if attempt.is_asked:
            return  # it is being deleted
        if workload.restarts > attempt.restarts:
            self._tell_restart(attempt, workload)
        current = [pod for pod in attempt.pods.values() if pod.restart == workload.restarts]
        if workload.is_failing or attempt.failing == workload.restarts:
            self._hasten(attempt, workload, current)
        if workload.verdict == "complete":
            self._tell(attempt, AttemptEnd(attempt.job.attempt_id, 0, None, ""))
        elif workload.verdict == "failed":
            self._look_failed(attempt, workload, newest_pods(current))
        else:
            self._look_going(attempt, workload, newest_pods(current))

    def _look_going(self, attempt: _Attempt, workload: Workload, pods: Sequence[PodView]) -> None:
        job = attempt.job
        if job.launch is Launch.PROCESS:
            self._tell_replaced_pod(attempt)
        waits = pending(
            workload,
            pods,
            self._warnings.of_objects,
            self._warnings.of_workloads.get(attempt.name, ""),
        )
        attempt.why = waits.why if waits else ""
        kind = waits.kind if waits else ""
        attempt.since = {kind: attempt.since.get(kind, time.monotonic())} if waits else {}
        if waits is not None:
            self._enforce(attempt, waits, pods, time.monotonic() - attempt.since[kind])

    def _enforce(
        self, attempt: _Attempt, waits: Pending, pods: Sequence[PodView], seconds: float
    ) -> None:
        """Ends what has waited for too long for something that will not come."""
        job = attempt.job
        elastic = job.launch is Launch.GANG and isinstance(job.resources.nodes, NodeRange)
        placed = sum(not pod.unschedulable and bool(pod.node) for pod in pods)
        if waits.kind == "unschedulable" and elastic and job.nodes > job.resources.min_nodes:
            if seconds >= self._node_wait and placed >= job.resources.min_nodes:
                cause = f"{placed} of {job.nodes} nodes are there; goes on with those ({waits.why})"
                end = AttemptEnd(job.attempt_id, KILLED, None, cause, lost_node=True, nodes=placed)
                self._end_with(attempt, end)
            return
        limits = {
            "image": _IMAGE_SECONDS if waits.hopeless else _SLOW_IMAGE_SECONDS,
            "config": _IMAGE_SECONDS if waits.hopeless else _SLOW_IMAGE_SECONDS,
            "unschedulable": _NO_FIT_SECONDS if waits.hopeless else float("inf"),
        }
        if seconds >= limits.get(waits.kind, float("inf")):
            code = int(WorkerExit.CONFIG)
            self._end_with(
                attempt, AttemptEnd(job.attempt_id, code, None, waits.why, advice=waits.advice)
            )

    def _tell_restart(self, attempt: _Attempt, workload: Workload) -> None:
        """The cluster has started a gang anew; how the start before ended."""
        before = [pod for pod in attempt.pods.values() if pod.restart < workload.restarts]
        newest = max((pod.restart for pod in before), default=0)
        failure = first_failure([pod for pod in before if pod.restart == newest])
        end = self._describe(attempt, failure, "the cluster restarted the gang")
        self._told.append(replace(end, restarts=workload.restarts))
        attempt.restarts = workload.restarts
        attempt.pods = {
            name: pod for name, pod in attempt.pods.items() if pod.restart >= workload.restarts
        }

    def _tell_replaced_pod(self, attempt: _Attempt) -> None:
        """A process's pod that failed and was replaced by its Job."""
        over = sorted(
            (pod for pod in attempt.pods.values() if pod.is_over), key=lambda one: one.created
        )
        if len(over) > attempt.replaced and len(attempt.pods) > len(over):
            failure = first_failure(over[attempt.replaced :])
            attempt.replaced = len(over)
            if failure is not None:
                end = self._describe(attempt, failure, "")
                self._told.append(replace(end, restarts=0))

    def _look_failed(self, attempt: _Attempt, workload: Workload, pods: Sequence[PodView]) -> None:
        """The workload has failed; told once none of its pods runs any more."""
        if any(not pod.is_over for pod in pods) and not _are_unreachable(pods, attempt.job):
            return
        self._tell(attempt, self._describe(attempt, first_failure(pods), workload.message))

    def _look_gone(self, attempt: _Attempt) -> None:
        """The workload was deleted: by us, or by somebody else."""
        pods = newest_pods(attempt.pods.values())
        if any(not pod.is_over for pod in pods) and not _are_unreachable(pods, attempt.job):
            return
        if attempt.ending is not None:
            self._tell(attempt, attempt.ending)
            return
        failure = first_failure(pods)
        end = self._describe(attempt, failure, "")
        what = f"its {attempt.resource.kind} {attempt.name} was deleted"
        if attempt.is_asked:
            what = "asked to stop"
        cause = f"{what}; {end.cause}" if failure else what
        self._tell(attempt, replace(end, cause=cause, lost_node=True))

    def _describe(self, attempt: _Attempt, failure: Failure | None, otherwise: str) -> AttemptEnd:
        job = attempt.job
        if failure is None:
            cause = otherwise or "its pods left no trace"
            return AttemptEnd(job.attempt_id, KILLED, None, cause, lost_node=True)
        end = failure.end
        rank = end.rank
        if rank is None and job.launch is not Launch.PROCESS:
            rank = failure.pod.index * job.processes_per_node
        return AttemptEnd(
            job.attempt_id,
            end.exit_code,
            rank,
            end.cause,
            lost_node=end.lost,
            advice=end.advice,
        )

    def _tell(self, attempt: _Attempt, end: AttemptEnd) -> None:
        del self._attempts[attempt.job.attempt_id]
        self._told.append(end)

    # --- stopping

    @override
    def stop(self, attempt_id: str, *, now: bool) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            return
        attempt.is_asked = True
        attempt.why = ""
        self._cluster.delete(attempt.resource, attempt.name)
        if now:
            for pod in attempt.pods.values():
                if not pod.is_over:
                    self._cluster.delete(POD, pod.name, grace_seconds=_NOW_GRACE_SECONDS)
        self._next_look = 0.0

    @override
    def close(self) -> None:
        """Stops to watch; attempts go on."""
        self._mirror.close()
        self._cluster.close()

    def _end_with(self, attempt: _Attempt, end: AttemptEnd) -> None:
        attempt.ending = end
        self.stop(attempt.job.attempt_id, now=False)

    def _hasten(self, attempt: _Attempt, workload: Workload, pods: Sequence[PodView]) -> None:
        """Ends what is left of a gang of which a rank crashed: its peers hang in a collective.

        One that was preempted is left its time: the peers save the same step.
        """
        if attempt.job.launch is not Launch.GANG or attempt.hastened >= workload.restarts:
            return
        failure = first_failure(pods)
        if failure is None or failure.end.lost or failure.end.exit_code == WorkerExit.PREEMPTED:
            return
        attempt.hastened = workload.restarts
        for pod in pods:
            if not pod.is_over:
                self._cluster.delete(POD, pod.name, grace_seconds=_BROKEN_GANG_SECONDS)


def _are_unreachable(pods: Sequence[PodView], job: Job) -> bool:
    """Whether what still runs was asked to end so long ago that its node must be gone."""
    limit = time.time() - job.grace_seconds - _UNREACHABLE_SECONDS
    return all(
        pod.is_over or (pod.asked_to_end is not None and pod.asked_to_end < limit) for pod in pods
    )


def _images(workload: Object) -> list[str]:
    spec = workload["spec"]
    template = spec.get("template") or spec["replicatedJobs"][0]["template"]["spec"]["template"]
    return [one.get("image", "") for one in template["spec"]["containers"]]
