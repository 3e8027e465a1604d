"""The objects of one attempt at one stage: a JobSet, a Job, or a Job with its headless Service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import NEVER_RETRIED, UserError, WorkerExit
from pipeline.executors.kubernetes.manifest.names import (
    REPLICATED_JOB,
    stage_annotations,
    stage_labels,
    stage_names,
)
from pipeline.executors.kubernetes.manifest.pod import CONTAINER, pod_template
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.pod import AGENT_PORT, PodOrder
from pipeline.spec.stage import Launch

Object = dict[str, Any]

_FATAL = sorted(int(code) for code in NEVER_RETRIED)
_PREEMPTED = int(WorkerExit.PREEMPTED)
_MAX_COMPLETIONS = 100_000
"""Of an Indexed Job with backoffLimitPerIndex and finished indexes that can be listed."""


@dataclass(frozen=True)
class Owner:
    """What the objects are removed with."""

    api_version: str
    kind: str
    name: str
    uid: str


def stage_objects(
    order: PodOrder, settings: ClusterSettings, *, owner: Owner | None = None
) -> list[Object]:
    """Everything an attempt needs, the workload first; deterministic.

    Raises:
        UserError: no image is named, or the order cannot be put into an object.
    """
    if settings.image is None:
        msg = "no image: set cluster.image to one of this code, see k8s/README.md"
        raise UserError(msg)
    if order.job.launch is Launch.GANG:
        objects = _gang(order, settings)
    elif order.job.launch is Launch.WORKERS:
        objects = [_workers(order, settings)]
    else:
        objects = [_process(order, settings)]
    for one in objects:
        one["metadata"] = _metadata(order, settings, owner=owner)
    return objects


def _gang(order: PodOrder, settings: ClusterSettings) -> list[Object]:
    names = stage_names(order.job)
    if settings.gang == "job":
        template = pod_template(
            order, settings, address=names.gang_host(jobset=False), subdomain=names.name
        )
        job = _indexed(order, template, settings, pod_failure_policy=_gang_pod_failures())
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {},
            "spec": {
                "clusterIP": "None",
                # Ranks meet before any is ready.
                "publishNotReadyAddresses": True,
                "selector": {"batch.kubernetes.io/job-name": names.name},
                "ports": [{"name": CONTAINER, "port": AGENT_PORT, "protocol": "TCP"}],
            },
        }
        return [job, service]
    template = pod_template(order, settings, address=names.gang_host(jobset=True), subdomain=None)
    job = _indexed(order, template, None, pod_failure_policy=_gang_pod_failures())
    return [
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {},
            "spec": {
                "network": {
                    "enableDNSHostnames": True,
                    "subdomain": names.name,
                    "publishNotReadyAddresses": True,
                },
                "successPolicy": {"operator": "All", "targetReplicatedJobs": [REPLICATED_JOB]},
                "failurePolicy": _jobset_failures(order.job.retry.max_attempts - 1),
                "ttlSecondsAfterFinished": settings.ttl_seconds,
                "replicatedJobs": [
                    {
                        "name": REPLICATED_JOB,
                        "replicas": 1,
                        "template": {
                            "metadata": {"labels": stage_labels(order.job)},
                            "spec": job["spec"],
                        },
                    }
                ],
            },
        }
    ]


def _indexed(
    order: PodOrder,
    template: Object,
    settings: ClusterSettings | None,
    *,
    pod_failure_policy: Sequence[Object],
) -> Object:
    """A Job of which the first failed pod ends all others; its ttl only where nothing owns it."""
    spec: Object = {
        "completionMode": "Indexed",
        "completions": order.job.nodes,
        "parallelism": order.job.nodes,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": list(pod_failure_policy)},
        "template": template,
    }
    if settings is not None:
        spec["ttlSecondsAfterFinished"] = settings.ttl_seconds
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": spec}


def _workers(order: PodOrder, settings: ClusterSettings) -> Object:
    """Each worker is tried again by itself; bad data or configuration ends all of them."""
    count = order.job.nodes
    if count > _MAX_COMPLETIONS:
        msg = f"stage {order.job.stage}: {count} workers; a Job can have {_MAX_COMPLETIONS}"
        raise UserError(msg)
    spec = {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": count,
        "backoffLimitPerIndex": order.job.retry.max_attempts - 1,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _single_pod_failures()},
        "ttlSecondsAfterFinished": settings.ttl_seconds,
        "template": pod_template(order, settings, address=None, subdomain=None),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": spec}


def _process(order: PodOrder, settings: ClusterSettings) -> Object:
    spec = {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": order.job.retry.max_attempts - 1,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _single_pod_failures()},
        "ttlSecondsAfterFinished": settings.ttl_seconds,
        "template": pod_template(order, settings, address=None, subdomain=None),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": spec}


def _gang_pod_failures() -> list[Object]:
    """One rank's end is the gang's: each class of ends fails the Job with a message of its own."""
    return [
        {"action": "FailJob", "onExitCodes": _exit_codes(_FATAL)},
        {"action": "FailJob", "onExitCodes": _exit_codes([_PREEMPTED])},
        {"action": "FailJob", "onPodConditions": [_DISRUPTED]},
    ]


def _single_pod_failures() -> list[Object]:
    """Never again, for free, or (no rule) counted."""
    return [
        {"action": "FailJob", "onExitCodes": _exit_codes(_FATAL)},
        {"action": "Ignore", "onExitCodes": _exit_codes([_PREEMPTED])},
        {"action": "Ignore", "onPodConditions": [_DISRUPTED]},
    ]


_DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
"""Drained, evicted, preempted or its node lost: no fault of the stage."""


def _exit_codes(codes: Sequence[int]) -> Object:
    return {"containerName": CONTAINER, "operator": "In", "values": list(codes)}


def _jobset_failures(max_restarts: int) -> Object:
    """Rules for what the Job's failure says; the first that fits counts, no rule: a counted restart.

    All rules of a Job's podFailurePolicy fail it with the same reason, so its message decides.
    """
    fatal = "|".join(map(str, _FATAL))
    rules: Sequence[tuple[str, str, str]] = (
        ("neverRetried", "FailJobSet", f"failed with exit code ({fatal}) "),
        ("preempted", "RestartJobSetAndIgnoreMaxRestarts", f"failed with exit code {_PREEMPTED} "),
        ("disrupted", "RestartJobSetAndIgnoreMaxRestarts", "has condition DisruptionTarget "),
    )
    return {
        "maxRestarts": max_restarts,
        "restartStrategy": "Recreate",
        "rules": [
            {
                "name": name,
                "action": action,
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": [pattern],
                "targetReplicatedJobs": [REPLICATED_JOB],
            }
            for name, action, pattern in rules
        ],
    }


def _metadata(order: PodOrder, settings: ClusterSettings, *, owner: Owner | None) -> Object:
    labels: dict[str, str] = {**settings.labels, **stage_labels(order.job)}
    if settings.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    if settings.priority is not None:
        labels["kueue.x-k8s.io/priority-class"] = settings.priority
    annotations: Mapping[str, str] = {**settings.annotations, **stage_annotations(order.job)}
    metadata: Object = {
        "name": stage_names(order.job).name,
        "namespace": settings.namespace,
        "labels": labels,
        "annotations": dict(annotations),
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": False,
                "blockOwnerDeletion": False,
            }
        ]
    return metadata
