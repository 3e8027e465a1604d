"""Where an attempt stands, read from its workload and its pods. Pure functions; no clock, no client.

A workload is a JobSet, which the cluster restarts by itself, or a Job. What it says of itself
decides whether an attempt goes on; its pods say how it ended and why.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import NEVER_RETRIED, WorkerExit
from pipeline.executors.kubernetes.pods import KILLED, PodEnd, PodView

_KEPT_CONDITIONS = frozenset(
    {"Complete", "Completed", "Failed", "FailureTarget", "Suspended", "StartupPolicyCompleted"}
)
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
_CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_HOPELESS = re.compile(
    r"not found|manifest unknown|does not exist|denied|unauthorized|forbidden|InvalidImageName|"
    r"ErrImageNeverPull|couldn't parse|not present with pull policy",
    re.IGNORECASE,
)
_FITS_NOWHERE = "Preemption is not helpful"
"""The scheduler's words when a pod asks for more than any of these nodes has, busy or not."""


@dataclass(frozen=True)
class Workload:
    """A JobSet or Job.

    Attributes:
        attempt_id: whose it is; of its annotation.
        verdict: "complete", "failed", or "" while it goes on.
        message: why it failed, in the controller's words.
        restarts: how often the cluster started it anew.
        is_failing: given up by its controller, though pods of it may still run.
        is_suspended: Kueue, or a person, holds it back.
        is_gone: deleted.
    """

    name: str
    uid: str
    attempt_id: str
    created: str
    verdict: str
    message: str
    restarts: int
    is_failing: bool
    is_suspended: bool
    is_gone: bool


def trim_workload(item: Mapping[str, Any]) -> dict[str, Any]:
    """What `view_workload` and the adoption read; the rest of a JobSet is a hundred times larger."""
    metadata, status = item["metadata"], item.get("status") or {}
    annotations = metadata.get("annotations") or {}
    return {
        "metadata": {
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "creationTimestamp": metadata.get("creationTimestamp", ""),
            "deletionTimestamp": metadata.get("deletionTimestamp"),
            "labels": metadata.get("labels") or {},
            "ownerReferences": metadata.get("ownerReferences") or [],
            "annotations": {
                key: value for key, value in annotations.items() if key.startswith("pipeline/")
            },
        },
        "spec": {"suspend": bool((item.get("spec") or {}).get("suspend"))},
        "status": {
            "conditions": [
                condition
                for condition in status.get("conditions") or ()
                if condition.get("type") in _KEPT_CONDITIONS
            ],
            "terminalState": status.get("terminalState", ""),
            "restarts": status.get("restarts") or 0,
        },
    }


def view_workload(item: Mapping[str, Any]) -> Workload:
    """Reads a trimmed JobSet or Job."""
    metadata, status = item["metadata"], item["status"]
    conditions = {one["type"]: one for one in status["conditions"] if one.get("status") == "True"}
    verdict = ""
    if "Complete" in conditions or "Completed" in conditions:
        verdict = "complete"
    elif "Failed" in conditions:
        verdict = "failed"
    elif status["terminalState"]:
        verdict = "complete" if status["terminalState"] == "Completed" else "failed"
    failed = conditions.get("Failed") or conditions.get("FailureTarget") or {}
    return Workload(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt_id=metadata["annotations"].get("pipeline/attempt-id", ""),
        created=metadata["creationTimestamp"],
        verdict=verdict,
        message=f"{failed.get('reason', '')}: {failed.get('message', '')}".strip(": "),
        restarts=int(status["restarts"]),
        is_failing=verdict == "failed" or "FailureTarget" in conditions,
        is_suspended=item["spec"]["suspend"],
        is_gone=bool(item.get("deleted")),
    )


@dataclass(frozen=True)
class Failure:
    """The pod that failed first, of those that count.

    Attributes:
        end: how; its `cause` names pod, node and what happened.
        pod: the pod.
    """

    end: PodEnd
    pod: PodView


def first_failure(pods: Iterable[PodView]) -> Failure | None:
    """What ended a gang, or a process; None when no pod failed.

    A pod that was taken away is the cause of all that its peers say of a closed connection, though
    theirs is often told first. Else the earliest failure counts; that a peer is gone, as the others
    tell, counts only when nothing says why.
    """
    ends = [Failure(_end_of(pod), pod) for pod in pods if pod.is_over]
    failed = sorted(
        (one for one in ends if one.end.exit_code != 0),
        key=lambda one: (one.end.is_witness, one.end.time),
    )
    if not failed:
        return None
    for one in failed:
        if one.end.exit_code in NEVER_RETRIED:
            return _told(one)
    first = failed[0]
    for one in failed:
        if one.end.lost and not _was_cleared_away(one, first):
            return _told(one)
    asked = [one for one in failed if one.pod.asked_to_end is not None and not one.end.is_witness]
    if first.end.exit_code != WorkerExit.PREEMPTED:
        asked = [one for one in asked if _was_taken_before(one, first.end.time)]
    # Preempted ranks all saved the same step and all say so: who was asked first is why.
    cause = min(asked, key=lambda one: one.pod.asked_to_end or 0.0, default=None)
    return _told(first if cause is None else _taken(cause))


def _was_taken_before(failure: Failure, moment: float) -> bool:
    """Whether a pod's deletion was asked for before another failed.

    After it, the Job itself deletes the others. The server tells whole seconds.
    """
    asked = failure.pod.asked_to_end
    if asked is None:
        return False
    return asked < math.floor(moment) or (asked <= moment and failure.end.time <= moment)


def _was_cleared_away(failure: Failure, first: Failure) -> bool:
    """Whether a pod that could not tell its end was deleted only after another had failed."""
    if failure.pod.end is not None or failure.pod.asked_to_end is None or first.end.is_witness:
        return False
    return not _was_taken_before(failure, first.end.time)


def newest_pods(pods: Iterable[PodView]) -> list[PodView]:
    """Of each index the pod that was made last: earlier ones were replaced."""
    newest: dict[int, PodView] = {}
    for pod in sorted(pods, key=lambda one: one.created):
        newest[pod.index] = pod
    return list(newest.values())


def _taken(failure: Failure) -> Failure:
    """Ended because somebody deleted the pod: no fault of the stage."""
    if failure.end.lost:
        return failure
    end = replace(failure.end, lost=True, what=failure.end.what or "the pod was deleted")
    return Failure(end, failure.pod)


def _end_of(pod: PodView) -> PodEnd:
    if pod.end is not None:
        return pod.end
    when = math.inf if pod.asked_to_end is None else pod.asked_to_end
    return PodEnd(KILLED, None, "the pod was deleted before it could tell", "", "", when, lost=True)


def _told(failure: Failure) -> Failure:
    """The failure with one line that says who, where and what."""
    end, pod = failure.end, failure.pod
    who = f"pod {pod.name} on {pod.place}"
    parts = [part for part in (end.what, end.cause) if part]
    if end.exit_code == WorkerExit.PREEMPTED and end.lost:
        parts = [end.what, "state saved"]
    return Failure(replace(end, cause=f"{who}: {'; '.join(parts)}"), pod)


# --- before it runs


@dataclass(frozen=True)
class Pending:
    """Why an attempt does not run yet.

    Attributes:
        why: one line for a person.
        kind: `queued`, `unschedulable`, `image`, `config` or `starting`.
        hopeless: waiting longer will not help as things are.
        advice: what to do.
    """

    why: str
    kind: str
    hopeless: bool = False
    advice: str = ""


def pending(
    workload: Workload,
    pods: Sequence[PodView],
    events: Mapping[str, str],
    *,
    queue_says: str,
    num_pods: int,
) -> Pending | None:
    """Why not all pods of an attempt run; None when they do or have ended.

    Args:
        workload: the attempt's.
        pods: those of its current start.
        events: name of an object -> the cluster's last warning about it.
        queue_says: what Kueue's Workload says; "" when nothing is known.
        num_pods: how many there are to be.
    """
    if workload.is_suspended:
        why = queue_says or events.get(workload.name, "") or "suspended"
        return Pending(f"queued: {why}", "queued")
    waiting = [pod for pod in pods if not pod.is_running and not pod.is_over]
    for reasons, look in (
        (_IMAGE_REASONS, _image_pending),
        (_CONFIG_REASONS, _config_pending),
    ):
        for pod in waiting:
            if pod.stuck[0] in reasons:
                return look(pod)
    unscheduled = [pod for pod in waiting if pod.unschedulable]
    if unscheduled:
        return _unschedulable(pods, unscheduled)
    if waiting:
        warned = next((events[pod.name] for pod in waiting if pod.name in events), "")
        reason = warned or "starting"
        return Pending(f"{len(waiting)} of {len(pods)} pods not running: {reason}", "starting")
    if len(pods) < num_pods:
        # A gang's pods are made by a Job of its JobSet.
        warned = next((text for name, text in events.items() if name.startswith(workload.name)), "")
        why = f"{len(pods)} of {num_pods} pods are made{': ' if warned else ''}{warned}"
        return Pending(why, "starting")
    return None


def _unschedulable(pods: Sequence[PodView], unscheduled: Sequence[PodView]) -> Pending:
    message = " ".join(unscheduled[0].unschedulable.split())
    why = f"{len(unscheduled)} of {len(pods)} pods find no node: {message}"
    fits_nowhere = _FITS_NOWHERE in message and "No preemption victims" not in message
    advice = (
        "Lower the stage's resources to what a node has, or add nodes that have it; "
        "`kubectl describe nodes` shows what they have."
    )
    return Pending(why, "unschedulable", fits_nowhere, advice)


def _image_pending(pod: PodView) -> Pending:
    reason, message = pod.stuck
    text = " ".join(message.split())
    why = f"pod {pod.name} on {pod.place}: {reason}: {text or 'no message'}"
    advice = (
        "Set cluster.image to an image that these nodes can pull (cluster.pull_secrets for a "
        "private registry, cluster.pull_policy: Never for one loaded by hand), then resume."
    )
    return Pending(why, "image", bool(_HOPELESS.search(f"{reason} {text}")), advice)


def _config_pending(pod: PodView) -> Pending:
    reason, message = pod.stuck
    why = f"pod {pod.name} on {pod.place}: {reason}: {' '.join(message.split())}"
    advice = (
        "Make what it names (a Secret, ConfigMap or volume), or correct `cluster:`; then resume."
    )
    return Pending(why, "config", "not found" in message, advice)
