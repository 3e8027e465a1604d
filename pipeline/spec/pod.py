"""What a pod is told: the job of its attempt, and all that an agent without a runner must know."""

from pydantic import BaseModel, ConfigDict

from pipeline.spec.job import Job

_STRICT = ConfigDict(frozen=True, extra="forbid")

BY_HAND = "by-hand"
"""Stands for the run of a stage that was rendered and applied, without one."""

ORDER_VARIABLE = "PIPELINE_ORDER"
"""Path of the order's file in the pod."""
ADDRESS_VARIABLE = "PIPELINE_MEETING_ADDRESS"
"""Host name of the pod whose agent is node 0; absent where nodes do not meet."""
UID_VARIABLE = "PIPELINE_JOB_UID"
"""UID of the pod's Job: another one whenever a gang is started anew, the same for all its pods."""
RESTART_VARIABLE = "PIPELINE_RESTART"
"""How often the cluster has restarted this gang by itself; "" or absent: never."""
POD_IP_VARIABLE = "PIPELINE_POD_IP"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Which node of a gang or which worker the pod is; set by Kubernetes in Indexed Jobs."""
SCRATCH_VARIABLE = "PIPELINE_SCRATCH"
"""A local folder that vanishes with the pod."""
TERMINATION_VARIABLE = "PIPELINE_TERMINATION_LOG"
"""Where the cluster reads why the container ended: the NodeExit as JSON."""
METRICS_PORT_VARIABLE = "PIPELINE_METRICS_PORT"
METRICS_LINGER_VARIABLE = "PIPELINE_METRICS_LINGER_SECONDS"
POD_NAME_VARIABLE = "PIPELINE_POD_NAME"
POD_NAMESPACE_VARIABLE = "PIPELINE_POD_NAMESPACE"
HUB_PORT_VARIABLE = "PIPELINE_HUB_PORT"
AGENT_PORT = 9640
"""Where an agent serves /metrics and /healthz; the same in every pod."""
HUB_PORT = 9641
"""Where node 0 of a gang waits for the agents of the others."""


class Upstream(BaseModel):
    """An output that a stage applied by hand takes: what shall be in the store before it runs."""

    model_config = _STRICT

    stage: str
    plan_key: str
    port: str


class InputPort(BaseModel):
    """Where one input port's artifacts come from."""

    model_config = _STRICT

    upstream: tuple[Upstream, ...]
    many: bool = False
    optional: bool = False


class Sealed(BaseModel):
    """A value of the configuration that the pod puts together from its own environment.

    Attributes:
        path: within the configuration.
        template: the value with `${env.NAME}` where a variable's content belongs.
        digest: of the value as planned; "" where it was no text.
    """

    model_config = _STRICT

    path: tuple[str | int, ...]
    template: str
    digest: str = ""


class PodOrder(BaseModel):
    """The order of an agent that is PID 1 of a pod; each pod of an attempt has the same.

    Attributes:
        job: the attempt. `folder` is "": where the store is a mounted folder it is
            `attempt_path` in it, else a local one that is uploaded there. Its staging is
            named `attempt_id` and the first characters of the Job's UID, see `staging_id`.
        sealed: values that are left out of `job.config`, since they may be secret.
        image: what the pod runs; image_tag: the tag that an image of the planned code should get.
        inputs: of a stage applied by hand: `job.inputs` and `job.content_key` are empty, and the
            agent waits `wait_seconds` for these results. Empty when a runner knew them.
        by_hand: no runner holds the lease: node 0's agent takes it, and joins workers' parts.
        stall_seconds: see `ClusterSettings`.
    """

    model_config = _STRICT

    job: Job
    sealed: tuple[Sealed, ...] = ()
    image: str = ""
    image_tag: str = ""
    inputs: dict[str, InputPort] = {}
    by_hand: bool = False
    wait_seconds: float = 0.0
    stall_seconds: float | None = None


def staging_id(attempt_id: str, job_uid: str) -> str:
    """Names what one start of a gang stages: a restart by the cluster must not meet the old parts."""
    return f"{attempt_id}-{job_uid[:8]}" if job_uid else attempt_id


def attempt_path(run: str, stage_name: str, attempt: int, restart: str = "") -> str:
    """Key of an attempt's folder in the store: logs, progress, metrics, pictures, ends.

    Args:
        run: the run's id, or BY_HAND: that is no run, and not found among them.
        stage_name: `safe_name` of the stage's address.
        attempt: counts from 1.
        restart: how often the cluster restarted it by itself: each has a folder of its own.
    """
    suffix = f".{restart}" if restart not in ("", "0") else ""
    root = run if run == BY_HAND else f"runs/{run}"
    return f"{root}/stages/{stage_name}/{attempt}{suffix}"
