"""Runs attempts as JobSets and Jobs of a cluster; they outlive the runner, and the next adopts them."""

import time
from collections.abc import Callable, Mapping, Sequence

from typing_extensions import override

from pipeline.errors import InfrastructureError
from pipeline.executors.base import AttemptEnd, Capacity, Found, OutlivingExecutor
from pipeline.executors.kubernetes.client import Cluster, Object
from pipeline.executors.kubernetes.events import Warnings
from pipeline.executors.kubernetes.following import (
    Attempt,
    EndIt,
    Hasten,
    Patience,
    Sayings,
    Step,
    Tell,
)
from pipeline.executors.kubernetes.mirror import Mirror, Watched
from pipeline.executors.kubernetes.pods import JOBSET_NAME, RESTART, trim_pod, view_pod
from pipeline.executors.kubernetes.resources import (
    EVENT,
    JOB,
    JOBSET,
    POD,
    WORKLOAD,
    Resource,
    resource_of,
)
from pipeline.executors.kubernetes.states import trim_workload, view_workload
from pipeline.executors.kubernetes.wire import ApiError
from pipeline.spec.job import Job

Render = Callable[[Job], list[Object]]
"""The objects of an attempt, its JobSet or Job first."""
ReadOrder = Callable[[Object], Job | None]
"""The job in a JobSet or Job that was rendered; None where there is none."""

OURS = "app.kubernetes.io/managed-by=pipeline,app.kubernetes.io/component=stage"
_PATIENCE = Patience()
_LIST_SECONDS = 60.0
_REPLACE_SECONDS = 180.0
_NOW_GRACE_SECONDS = 1
_BROKEN_GANG_SECONDS = 5
_LOOK_SECONDS = 2.0
"""Between looks at attempts of which nothing new is heard, for what only time decides."""


class KubernetesExecutor(OutlivingExecutor):
    """Implements `OutlivingExecutor`. One watch a kind follows all attempts."""

    def __init__(
        self,
        cluster: Cluster,
        render: Render,
        read_order: ReadOrder,
        *,
        image: str,
        uses_jobsets: bool = True,
        uses_queue: bool = False,
        patience: Patience = _PATIENCE,
    ) -> None:
        """Starts to watch, and returns once all that is there was listed.

        Args:
            cluster: where attempts run; closed with the executor.
            render: makes an attempt's objects.
            read_order: reads its job back from its JobSet or Job.
            image: what pods run; an attempt that hangs on another one is not adopted.
            uses_jobsets: gangs are JobSets, so their kind must be there.
            uses_queue: Kueue admits them: its Workloads say why one waits.
            patience: how long attempts wait for what may not come.

        Raises:
            InfrastructureError: the cluster cannot be read.
        """
        self._cluster = cluster
        self._render = render
        self._read_order = read_order
        self._image = image
        self._patience = patience
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
            workloads = cluster.served(WORKLOAD)
            kinds.append(Watched(workloads, self._warnings.trim_workload, is_optional=True))
        self._attempts: dict[str, Attempt] = {}
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
        """As much as one likes: a cluster queues."""
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
        self._attempts[job.attempt_id] = Attempt(
            job, resource, name, self._patience, submitted=time.time()
        )

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
        while any(self._mirror.get(resource, there) or self._living_pods(there) for there in left):
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
    def find(self, plan_key: str, content_key: str) -> Found | None:
        wanted = {"pipeline/plan-key": plan_key, "pipeline/content-key": content_key}
        alive = []
        for resource in (JOBSET, JOB) if self._uses_jobsets else (JOB,):
            for trimmed in self._mirror.objects(resource).values():
                is_wanted = wanted.items() <= trimmed["metadata"]["annotations"].items()
                workload = view_workload(trimmed)
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
        if job is None or self._image not in _images(item):
            return None
        self._found[job.attempt_id] = (resource, workload.name)
        return Found(job, view_workload(trim_workload(item)).restarts)

    @override
    def adopt(self, job: Job) -> None:
        resource, name = self._found.pop(job.attempt_id)
        attempt = Attempt(job, resource, name, self._patience, is_seen=True)
        self._attempts[job.attempt_id] = attempt
        pods = (view_pod(pod) for pod in self._mirror.objects(POD).values())
        attempt.pods = {pod.name: pod for pod in pods if pod.owner == name}
        # Starts that ended while nobody looked are not told: only the current one can be seen.
        there = self._mirror.get(resource, name)
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

    def _take_in(self, changes: Mapping[tuple[str, str], Object]) -> list[Attempt]:
        """Which attempts the changes are about."""
        names = {attempt.name: attempt for attempt in self._attempts.values()}
        touched: dict[str, Attempt] = {}
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

    def _look(self, attempt: Attempt) -> None:
        item = self._mirror.get(attempt.resource, attempt.name)
        workload = view_workload(item) if item else None
        sayings = Sayings(self._warnings.of_objects, self._warnings.of_workloads)
        for step in attempt.look(workload, sayings, time.time()):
            self._do(attempt, step)

    def _do(self, attempt: Attempt, step: Step) -> None:
        if isinstance(step, Tell):
            if step.end.restarts is None:
                del self._attempts[attempt.job.attempt_id]
            self._told.append(step.end)
        elif isinstance(step, EndIt):
            attempt.ending = step.end
            self.stop(attempt.job.attempt_id, now=False)
        elif isinstance(step, Hasten):
            for pod in step.pods:
                self._cluster.delete(POD, pod, grace_seconds=_BROKEN_GANG_SECONDS)

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


def _images(workload: Object) -> list[str]:
    spec = workload["spec"]
    template = spec.get("template") or spec["replicatedJobs"][0]["template"]["spec"]["template"]
    return [one.get("image", "") for one in template["spec"]["containers"]]
