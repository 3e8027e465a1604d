"""The `cluster:` block of a profile: how stages become pods. Says nothing of what they compute."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline.spec.suggest import did_you_mean

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_LABEL_VALUE = r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_QUALIFIED = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"

POD_FIELDS = (
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "hostNetwork",
    "imagePullSecrets",
    "nodeSelector",
    "preemptionPolicy",
    "priorityClassName",
    "resourceClaims",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "serviceAccountName",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
)
"""What `pod:` may set of a PodSpec; all else is what makes a stage's pod a stage's pod."""

CONTAINER_FIELDS = ("env", "envFrom", "resources", "volumeMounts")
"""What `container:` may add to the container that runs the agent."""

Name = Annotated[str, Field(pattern=_LABEL)]
"""Of an object: lower case letters, digits and -, at most 63."""


class SecretKey(BaseModel):
    """A value out of a Secret, by reference: the cluster puts it into the pod, nobody prints it."""

    model_config = _STRICT

    secret: str = Field(min_length=1, description="name of the Secret")
    key: str = Field(min_length=1, description="key within it")
    optional: bool = Field(default=False, description="whether pods start without it")


class ConfigMapKey(BaseModel):
    """A value out of a ConfigMap."""

    model_config = _STRICT

    config_map: str = Field(min_length=1, description="name of the ConfigMap")
    key: str = Field(min_length=1, description="key within it")
    optional: bool = Field(default=False, description="whether pods start without it")


def _absolute(path: str) -> str:
    if not path.startswith("/") or path.rstrip("/") == "" or ":" in path:
        msg = f"should be an absolute path without a colon, not {path!r}"
        raise ValueError(msg)
    if any(part in ("..", ".") for part in path.split("/")):
        msg = f"should not climb with . or ..: {path!r}"
        raise ValueError(msg)
    return path.rstrip("/")


AbsolutePath = Annotated[str, AfterValidator(_absolute)]


class Volume(BaseModel):
    """A folder that every pod sees: a claim (any number of nodes must be able to write) or a host's."""

    model_config = _STRICT

    claim: str | None = Field(None, min_length=1, description="a PersistentVolumeClaim")
    host_path: AbsolutePath | None = Field(
        None, description="a folder of each node, shared by them"
    )
    mount: AbsolutePath | None = Field(None, description="where pods see it; default: /NAME")
    sub_path: str | None = Field(None, min_length=1, description="a folder within the volume")
    read_only: bool = False

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.claim is None) == (self.host_path is None):
            msg = "name either `claim` or `host_path`"
            raise ValueError(msg)
        return self


class Topology(BaseModel):
    """How close Kueue places the pods of a gang; the value is a node label of its Topology."""

    model_config = _STRICT

    required: str | None = Field(None, pattern=_QUALIFIED, description="all within one such domain")
    preferred: str | None = Field(
        None, pattern=_QUALIFIED, description="as few such domains as can be"
    )

    @model_validator(mode="after")
    def _is_one_wish(self) -> Self:
        if (self.required is None) == (self.preferred is None):
            msg = "name either `required` or `preferred`"
            raise ValueError(msg)
        return self


def _known_fields(known: tuple[str, ...], block: dict[str, Any]) -> dict[str, Any]:
    for field in block:
        if field not in known:
            msg = f"{field} cannot be set here. {did_you_mean(field, known, 'Fields')}"
            raise ValueError(msg)
    return block


def _pod_fields(block: dict[str, Any]) -> dict[str, Any]:
    return _known_fields(POD_FIELDS, block)


def _container_fields(block: dict[str, Any]) -> dict[str, Any]:
    return _known_fields(CONTAINER_FIELDS, block)


Variable = Annotated[str, Field(pattern=_VARIABLE)]


class ClusterSettings(BaseModel):
    """Settings of a cluster; the defaults fit what `k8s/base` installs."""

    model_config = _STRICT

    namespace: Name = Field("pipeline", description="where all objects go")
    image: str | None = Field(
        None, min_length=1, description="what pods run; of the very code that plans, see k8s/image"
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[str] = Field([], description="Secrets with credentials of the registry")
    gang: Literal["jobset", "job"] = Field(
        "jobset",
        description="jobset: the cluster restarts gangs; job: the runner does, no CRD needed",
    )
    queue: str | None = Field(None, pattern=_LABEL_VALUE, description="Kueue LocalQueue")
    priority: str | None = Field(
        None, pattern=_LABEL_VALUE, description="Kueue WorkloadPriorityClass; needs `queue`"
    )
    priority_class: str | None = Field(
        None, pattern=_LABEL_VALUE, description="PriorityClass of pods"
    )
    topology: str | Topology | None = Field(
        None, description="Kueue topology level: a node label, preferred; or {required: LABEL}"
    )
    gpu_resource: str = Field(
        "nvidia.com/gpu", pattern=_QUALIFIED, description="what nodes call a GPU"
    )
    service_account: Name = Field(
        "pipeline-runner", description="of the runner; stages have no token"
    )
    volumes: dict[Name, Volume] = Field({}, description="name -> volume, in all pods")
    env: dict[Variable, str | SecretKey | ConfigMapKey] = Field(
        {}, description="variables of all pods: a text, or {secret: NAME, key: KEY}"
    )
    pod: Annotated[dict[str, Any], AfterValidator(_pod_fields)] = Field(
        {}, description="laid over every pod's spec: nodeSelector, tolerations, volumes, ..."
    )
    container: Annotated[dict[str, Any], AfterValidator(_container_fields)] = Field(
        {}, description="laid over the agent's container: env, envFrom, volumeMounts, resources"
    )
    labels: dict[str, str] = Field({}, description="of every object and pod")
    annotations: dict[str, str] = Field({}, description="of every object and pod")
    user: int = Field(1000, gt=0, description="user id that pods run as; never root")
    group: int = Field(1000, gt=0, description="group id of pods, and of what they write to claims")
    grace_seconds: int = Field(
        120, ge=10, description="time to save a checkpoint, at least; twice the measured one counts"
    )
    stall_seconds: int | None = Field(
        1800,
        gt=0,
        description="a training stage without a step for so long has failed; null: never",
    )
    startup_seconds: int = Field(300, gt=0, description="time an agent has to come up")
    linger_seconds: int = Field(
        0, ge=0, description="a pod waits so long for the last scrape: a scrape interval, or 0"
    )
    input_wait_seconds: int = Field(
        3600, ge=0, description="how long stages applied by hand wait for the stages before them"
    )
    node_wait_seconds: int = Field(
        300, ge=0, description="an elastic gang goes on with fewer nodes when one is gone so long"
    )
    ttl_seconds: int = Field(
        86400, ge=0, description="how long what has ended stays to be looked at"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.priority is not None and self.queue is None:
            msg = "priority is Kueue's: name a `queue`, or set `priority_class`"
            raise ValueError(msg)
        if self.topology is not None and self.queue is None:
            msg = "topology is Kueue's: name a `queue`"
            raise ValueError(msg)
        if isinstance(self.topology, str) and not re.match(_QUALIFIED, self.topology):
            msg = f"topology {self.topology!r} is no node label"
            raise ValueError(msg)
        return self

    def mount_of(self, name: str) -> str:
        """Where pods see a volume."""
        return self.volumes[name].mount or f"/{name}"
