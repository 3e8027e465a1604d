"""Pods and workloads as a cluster shows them, small and valid by default."""

import time
from typing import Any

T0 = 1_800_000_000.0
"""Some moment; all times of a test are seconds after it."""


def rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(T0 + seconds))


def pod(  # noqa: PLR0913 - a pod has many sides
    index: int = 0,
    *,
    name: str = "",
    owner: str = "train-a1",
    restart: int | None = None,
    node: str = "worker-1",
    phase: str = "Running",
    created: float = 0.0,
    deleted_at: float | None = None,
    grace: int = 30,
    state: dict[str, Any] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    gone: bool = False,
    **status: Any,
) -> dict[str, Any]:
    """A pod; `deleted_at` is when its deletion was asked for."""
    labels = {
        "batch.kubernetes.io/job-name": owner,
        "batch.kubernetes.io/job-completion-index": str(index),
        "app.kubernetes.io/name": "pipeline",
    }
    if restart is not None:
        labels["jobset.sigs.k8s.io/jobset-name"] = owner
        labels["jobset.sigs.k8s.io/restart-attempt"] = str(restart)
    metadata: dict[str, Any] = {
        "name": name or f"{owner}-{index}-r{restart or 0}",
        "uid": f"uid-{index}-{restart}-{created}",
        "labels": labels,
        "creationTimestamp": rfc3339(created),
        "managedFields": [{"manager": "kubelet"}],
    }
    if deleted_at is not None:
        metadata["deletionTimestamp"] = rfc3339(deleted_at + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    if state is None:
        state = {"running": {"startedAt": rfc3339(created)}} if phase == "Running" else {}
    item = {
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "agent", "image": "big"}]},
        "status": {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": [{"name": "agent", "state": state}],
            **status,
        },
    }
    return item | ({"deleted": True} if gone else {})


def terminated(code: int, at: float, message: str = "", reason: str = "Error") -> dict[str, Any]:
    """The state of a container that ended."""
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "finishedAt": rfc3339(at),
        }
    }


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}


def workload(
    *, attempt_id: str = "attempt", suspend: bool = False, **status: Any
) -> dict[str, Any]:
    """A JobSet or Job."""
    return {
        "metadata": {
            "name": "train-a1",
            "uid": "u",
            "creationTimestamp": rfc3339(0),
            "annotations": {"pipeline/attempt-id": attempt_id, "else": "x" * 1000},
        },
        "spec": {"suspend": suspend, "replicatedJobs": [{"template": {}}]},
        "status": status,
    }


def true(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}
