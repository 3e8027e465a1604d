"""A pod as the runner sees it: where it stands, how it ended and why. Pure functions of JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.errors import WorkerExit, plain_text
from pipeline.spec.attempt import NodeExit

AGENT = "agent"
"""The container that runs the agent."""
JOBSET_NAME = "jobset.sigs.k8s.io/jobset-name"
RESTART = "jobset.sigs.k8s.io/restart-attempt"
JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
_KEPT_LABELS = (JOBSET_NAME, RESTART, JOB_NAME, INDEX)

KILLED = 128 + 9
_TERMINATED = 128 + 15
_DISRUPTIONS = {
    "PreemptionByScheduler": "preempted by a pod of higher priority",
    "DeletionByTaintManager": "its node was taken away (taint)",
    "EvictionByEvictionAPI": "evicted: its node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "evicted by its node",
}
_NOT_ITS_FAULT = frozenset(
    {"NodeLost", "Shutdown", "Terminated", "NodeShutdown", "NodeAffinity", "Preempting"}
)
"""`status.reason` of pods that a node turned away or took down with it."""
_MAX_LINE = 300
_OVERDUE_SECONDS = 60.0
"""A kubelet that lives has told by then."""


@dataclass(frozen=True)
class PodEnd:
    """How a pod ended.

    Attributes:
        exit_code: of its container; 128 + n for signal n.
        rank: that failed first in it, None when that is not known.
        what: `OOMKilled`, `evicted`, ..., in words; "" for an ordinary end.
        cause: the agent's line, or what is known instead.
        advice: what to do about it; "" when the exit code says it all.
        time: when it failed, Unix time; infinite where nothing tells.
        lost: the platform took it: not counted.
        is_witness: its agent tells only that another pod is gone; what became of that one says why.
    """

    exit_code: int
    rank: int | None
    what: str
    cause: str
    advice: str
    time: float
    lost: bool
    is_witness: bool = False


@dataclass(frozen=True)
class PodView:
    """One pod.

    Attributes:
        owner: the JobSet or Job that an attempt's pods belong to.
        index: which node of a gang, or which worker.
        restart: how often the JobSet had been restarted when it was made.
        is_deleted: gone; what is told is its last state.
        asked_to_end: when its deletion was asked for, None when it was not.
        due: when it has to have ended then.
        is_running: its container has started and not ended.
        unschedulable: the scheduler's message; "" when it has a node.
        stuck: reason and message of a container that cannot start, ("", "") when it can.
        end: None while it may still run.
    """

    name: str
    uid: str
    owner: str
    index: int
    restart: int
    node: str
    created: float
    is_deleted: bool
    asked_to_end: float | None
    due: float | None
    is_running: bool
    unschedulable: str
    stuck: tuple[str, str]
    end: PodEnd | None

    @property
    def place(self) -> str:
        """`node worker-2`, or that it never had one."""
        return f"node {self.node}" if self.node else "no node"

    def is_overdue(self, now: float) -> bool:
        """Whether it should have ended long ago: its node does not answer, and nobody will tell."""
        return not self.is_over and self.due is not None and now > self.due + _OVERDUE_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.is_deleted or self.end is not None


def trim_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """What `view_pod` reads, and nothing else: thousands of pods are kept in memory."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    return {
        "metadata": {
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "labels": {key: labels[key] for key in _KEPT_LABELS if key in labels},
            "creationTimestamp": metadata.get("creationTimestamp"),
            "deletionTimestamp": metadata.get("deletionTimestamp"),
            "deletionGracePeriodSeconds": metadata.get("deletionGracePeriodSeconds"),
        },
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName", "")},
        "status": {
            "phase": status.get("phase", "Pending"),
            "reason": status.get("reason", ""),
            "message": status.get("message", ""),
            "conditions": [
                condition
                for condition in status.get("conditions") or ()
                if condition.get("type") in ("DisruptionTarget", "PodScheduled")
            ],
            "containerStatuses": [
                {"name": one.get("name"), "state": one.get("state") or {}}
                for one in status.get("containerStatuses") or ()
            ],
        },
    }


def view_pod(pod: Mapping[str, Any]) -> PodView:
    """Reads a trimmed pod, or one as the server sent it."""
    metadata, status = pod["metadata"], pod["status"]
    labels = metadata.get("labels") or {}
    state = _agent_state(status)
    scheduled = _condition(status, "PodScheduled")
    due = moment(metadata.get("deletionTimestamp"))
    grace = float(metadata.get("deletionGracePeriodSeconds") or 0)
    waiting = state.get("waiting") or {}
    return PodView(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        owner=labels.get(JOBSET_NAME) or labels.get(JOB_NAME, ""),
        index=int(labels.get(INDEX) or 0),
        restart=int(labels.get(RESTART) or 0),
        node=(pod.get("spec") or {}).get("nodeName") or "",
        created=moment(metadata.get("creationTimestamp")) or 0.0,
        is_deleted=bool(pod.get("deleted")),
        asked_to_end=None if due is None else due - grace,
        due=due,
        is_running="running" in state and status.get("phase") == "Running",
        unschedulable=(
            scheduled.get("message", "not scheduled")
            if scheduled.get("status") == "False" and status.get("phase") == "Pending"
            else ""
        ),
        stuck=(waiting.get("reason", ""), waiting.get("message", "")),
        end=_pod_end(status, state),
    )


def _pod_end(status: Mapping[str, Any], state: Mapping[str, Any]) -> PodEnd | None:
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    terminated = state.get("terminated") or {}
    told = _node_exit(terminated.get("message", ""))
    code = int(terminated.get("exitCode") or 0)
    if status["phase"] == "Failed" and code == 0:
        code = KILLED  # the kubelet gave the pod up: no container of it has ended by itself
    if terminated.get("signal"):
        code = 128 + int(terminated["signal"])
    if told and told.exit_code and code in (KILLED, _TERMINATED):
        code = told.exit_code  # it had decided before it was killed
    what, advice, lost = _kind_of_end(status, terminated)
    cause = told.cause if told else ""
    if not cause and code:
        cause = _last_lines(terminated.get("message", "")) or f"exit code {code}, no reason given"
    if told and told.signal:
        cause += _tail(told)
    when = told.time if told else moment(terminated.get("finishedAt"))
    return PodEnd(
        exit_code=code,
        rank=told.rank if told else None,
        what=what,
        cause=plain_text(cause),
        advice=advice,
        time=math.inf if when is None else when,
        lost=lost and code != WorkerExit.DONE,
        is_witness=told is not None and told.is_witness,
    )


def _kind_of_end(status: Mapping[str, Any], terminated: Mapping[str, Any]) -> tuple[str, str, bool]:
    """(what it was, what to do, whether the platform did it)."""
    disruption = _condition(status, "DisruptionTarget")
    if disruption.get("status") == "True":
        reason = str(disruption.get("reason", ""))
        what = _DISRUPTIONS.get(reason, reason or "disrupted")
        message = _one_line(str(disruption.get("message") or status.get("message") or ""))
        return f"{what} ({message})" if message else what, "", True
    if terminated.get("reason") == "OOMKilled":
        advice = "Give the stage more resources.memory (or shm), or lower its batch; then resume."
        return "OOMKilled, over its memory limit", advice, False
    reason, message = str(status.get("reason") or ""), _one_line(str(status.get("message") or ""))
    if reason == "Evicted":
        advice = "Give the stage more resources.disk or memory, or move scratch data; then resume."
        return f"evicted by its node ({message})", advice, False
    if reason in _NOT_ITS_FAULT or reason.startswith(("OutOf", "UnexpectedAdmission")):
        return f"its node turned it away: {reason} {message}".strip(), "", True
    if terminated.get("reason") in ("ContainerCannotRun", "StartError", "ContainerStatusUnknown"):
        return str(terminated["reason"]), "", terminated["reason"] == "ContainerStatusUnknown"
    return (f"{reason} {message}".strip() if reason else ""), "", False


def _agent_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = status.get("containerStatuses") or ()
    agents = [one for one in statuses if one.get("name") == AGENT]
    for one in agents or statuses:
        state: Mapping[str, Any] = one.get("state") or {}
        return state
    return {}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            found: Mapping[str, Any] = condition
            return found
    return {}


def _node_exit(message: str) -> NodeExit | None:
    """What the agent wrote as its last word; None when it is something else."""
    try:
        return NodeExit(**json.loads(message))
    except (ValueError, TypeError):
        return None


def _tail(told: NodeExit) -> str:
    lines = [line.strip() for line in told.log_tail if line.strip()]
    return f"; last lines: {_one_line(' | '.join(lines[-2:]))}" if lines else ""


def _last_lines(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return _one_line(" | ".join(lines[-2:]))


def _one_line(text: str) -> str:
    return plain_text(" ".join(text.split()), _MAX_LINE)


def moment(text: Any) -> float | None:
    """Unix time of an RFC 3339 time; None for none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
