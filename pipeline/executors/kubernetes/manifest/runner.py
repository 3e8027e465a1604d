"""The runner in the cluster: a Job that runs the whole DAG, and the ConfigMap with its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ExitCode, UserError
from pipeline.executors.kubernetes.manifest.names import (
    COMPONENT,
    COMPONENT_RUNNER,
    DAG_ANNOTATION,
    DAG_LABEL,
    FIELD_MANAGER,
    MANAGED_BY,
    label_value,
    runner_name,
)
from pipeline.executors.kubernetes.manifest.overlay import overlaid
from pipeline.executors.kubernetes.manifest.pod import (
    SCRATCH,
    container_security,
    environment,
    pod_spec,
    scratch_volumes,
    volume_mounts,
)
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.pod import AGENT_PORT, METRICS_LINGER_VARIABLE, METRICS_PORT_VARIABLE
from pipeline.storage.digests import digest_of

DAG_FOLDER = "/etc/pipeline/dag"
DAG_FILE = "dag.yaml"
CONTAINER = "runner"
_MAX_TEXT_BYTES = 900_000
"""A ConfigMap may hold 1 MiB."""
_FINAL = (ExitCode.STAGE_FAILED, ExitCode.USER_ERROR, ExitCode.CANCELLED, ExitCode.BUG)
"""Starting the runner again would only repeat these; after a fault of infrastructure it may help."""
_RESTARTS = 20
_MARGIN_SECONDS = 60
_RESOURCES = {
    # Measured in tests/bench: 500 stages stay below 200 MB.
    "requests": {"cpu": "250m", "memory": "512Mi"},
    "limits": {"memory": "2Gi"},
}


@dataclass(frozen=True)
class RunRequest:
    """What the runner is started with.

    Attributes:
        dag: the DAG's name.
        text: of the DAG file.
        profile: one of its profiles.
        values: texts of values files, weakest first.
        sets: PATH=VALUE, weakest first.
        arguments: what else `pipeline run` is given: stages and selections.
    """

    dag: str
    text: str
    profile: str | None = None
    values: Sequence[str] = ()
    sets: Sequence[str] = ()
    arguments: Sequence[str] = ()


def runner_objects(request: RunRequest, settings: ClusterSettings) -> list[dict[str, Any]]:
    """The ConfigMap and the Job, both named by what they hold: another DAG never meets them.

    Raises:
        UserError: no image is named, or the files are too large for a ConfigMap.
    """
    if settings.image is None:
        msg = "no image: set cluster.image to one of this code, see k8s/README.md"
        raise UserError(msg)
    files = {DAG_FILE: request.text}
    files |= {_values_file(number): text for number, text in enumerate(request.values)}
    size = sum(len(text.encode()) for text in files.values())
    if size > _MAX_TEXT_BYTES:
        msg = f"the DAG and its values files have {size} bytes; {_MAX_TEXT_BYTES} can be applied"
        raise UserError(msg)
    spec = _pod(request, settings, files)
    digest = digest_of("runner", {"files": files, "pod": spec})
    name = runner_name(request.dag, digest)
    metadata = _metadata(request, settings, name)
    for volume in spec["volumes"]:
        if volume["name"] == "dag":
            volume["configMap"] = {"name": name}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": files,
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": _RESTARTS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _rules()},
            "ttlSecondsAfterFinished": settings.ttl_seconds,
            "template": {
                "metadata": {
                    "labels": metadata["labels"],
                    "annotations": {
                        **metadata["annotations"],
                        "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
                    },
                },
                "spec": spec,
            },
        },
    }
    return [config_map, job]


def _metadata(request: RunRequest, settings: ClusterSettings, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": settings.namespace,
        "labels": {
            **settings.labels,
            "app.kubernetes.io/name": "pipeline",
            MANAGED_BY: FIELD_MANAGER,
            COMPONENT: COMPONENT_RUNNER,
            DAG_LABEL: label_value(request.dag),
        },
        "annotations": {**settings.annotations, DAG_ANNOTATION: request.dag},
    }


def _rules() -> list[dict[str, Any]]:
    codes = {"containerName": CONTAINER, "operator": "In", "values": sorted(map(int, _FINAL))}
    return [
        # First: a drained runner is asked to stop as by a user, and shall go on elsewhere.
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {"action": "FailJob", "onExitCodes": codes},
    ]


def _pod(
    request: RunRequest, settings: ClusterSettings, files: Mapping[str, str]
) -> dict[str, Any]:
    container = {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": _command(request),
        "workingDir": SCRATCH,
        "env": environment(
            settings,
            [
                {"name": "HOME", "value": SCRATCH},
                {"name": "TMPDIR", "value": "/tmp"},
                {"name": METRICS_PORT_VARIABLE, "value": str(AGENT_PORT)},
                {"name": METRICS_LINGER_VARIABLE, "value": str(settings.linger_seconds)},
            ],
        ),
        "ports": [{"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "resources": _RESOURCES,
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "dag", "mountPath": DAG_FOLDER, "readOnly": True},
            *volume_mounts(settings),
        ],
    }
    spec = pod_spec(settings, container)
    # The one pod with a token: it makes the stages' objects.
    spec["serviceAccountName"] = settings.service_account
    spec["automountServiceAccountToken"] = True
    spec["terminationGracePeriodSeconds"] = settings.grace_seconds + _MARGIN_SECONDS
    spec["volumes"] = [
        {"name": "dag", "configMap": {"name": ""}},
        *scratch_volumes(disk=None),
        *spec["volumes"],
    ]
    overlay = {
        key: value
        for key, value in settings.pod.items()
        if key not in ("resourceClaims", "schedulingGates", "serviceAccountName")
    }
    return overlaid(spec, overlay)


def _command(request: RunRequest) -> list[str]:
    command = ["pipeline", "run", f"{DAG_FOLDER}/{DAG_FILE}", *request.arguments]
    if request.profile is not None:
        command += ["--profile", request.profile]
    for number in range(len(request.values)):
        command += ["--values", f"{DAG_FOLDER}/{_values_file(number)}"]
    for text in request.sets:
        command += ["--set", text]
    return [*command, "--on", "kubernetes", "--metrics-port", str(AGENT_PORT)]


def _values_file(number: int) -> str:
    return f"values-{number}.yaml"
