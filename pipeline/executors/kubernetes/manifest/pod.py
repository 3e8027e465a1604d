"""The pod template of a stage: one container that runs the agent, and nothing it does not need."""

import math
from typing import Any

from pipeline.executors.kubernetes.manifest.names import (
    ATTEMPT_LABEL,
    KEY_LABEL,
    ORDER_ANNOTATION,
    stage_annotations,
    stage_labels,
)
from pipeline.executors.kubernetes.manifest.order import order_text
from pipeline.executors.kubernetes.manifest.overlay import overlaid
from pipeline.spec.cluster import ClusterSettings, ConfigMapKey, SecretKey, Topology
from pipeline.spec.pod import (
    ADDRESS_VARIABLE,
    AGENT_PORT,
    HUB_PORT,
    METRICS_LINGER_VARIABLE,
    METRICS_PORT_VARIABLE,
    ORDER_VARIABLE,
    POD_IP_VARIABLE,
    POD_NAME_VARIABLE,
    POD_NAMESPACE_VARIABLE,
    RESTART_VARIABLE,
    SCRATCH_VARIABLE,
    TERMINATION_VARIABLE,
    UID_VARIABLE,
    PodOrder,
)
from pipeline.spec.resources import num_bytes
from pipeline.spec.stage import Launch

CONTAINER = "agent"
SCRATCH = "/scratch"
"""Where everything writes that may vanish; the root file system cannot be written."""
ORDER_FOLDER = "/etc/pipeline"
ORDER_FILE = "order.json"
AGENT_COMMAND = ("python", "-P", "-m", "pipeline.node.pod")
TERMINATION_LOG = "/dev/termination-log"
MARGIN_SECONDS = 15
"""What the agent gets on top of its ranks' grace period: to kill, tell and upload."""

_SHM_GANG_BYTES = 2**30
"""NCCL's and gloo's shared buffers of ranks on one node; Docker's own 64 MiB is too little."""
_SHM_BYTES = 64 * 2**20
_AGENT_BYTES = 2**28
"""What the agent needs beside its ranks; measured: 90 MB."""
_HUNG_GRACE_SECONDS = 30
_PROBE_SECONDS = 10
_PROBE_FAILURES = 6


def pod_template(
    order: PodOrder, settings: ClusterSettings, *, address: str | None, subdomain: str | None
) -> dict[str, Any]:
    """The template of all pods of an attempt.

    Args:
        order: what the agent is told.
        settings: of the cluster.
        address: DNS name of node 0's pod, for a gang.
        subdomain: the headless Service that gives pods their names, where the template has to say it.
    """
    labels = {**settings.labels, **stage_labels(order.job)}
    annotations = {
        **settings.annotations,
        **stage_annotations(order.job),
        **_kueue_topology(settings),
        ORDER_ANNOTATION: order_text(order),
    }
    if order.job.launch is Launch.GANG:
        # One pod moved to tidy up a node would cost the whole gang a restart.
        annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false"
    spec = pod_spec(settings, _container(order, settings, address=address))
    spec["automountServiceAccountToken"] = False
    spec["terminationGracePeriodSeconds"] = math.ceil(order.job.grace_seconds) + MARGIN_SECONDS
    spec["volumes"] = [
        {
            "name": "order",
            "downwardAPI": {
                "items": [
                    {
                        "path": ORDER_FILE,
                        "fieldRef": {"fieldPath": f"metadata.annotations['{ORDER_ANNOTATION}']"},
                    }
                ]
            },
        },
        *scratch_volumes(disk=order.job.resources.disk),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(_shm_bytes(order))}},
        *spec["volumes"],
    ]
    if subdomain is not None:
        spec["subdomain"] = subdomain
    if order.job.nodes > 1:
        selector = {key: labels[key] for key in (KEY_LABEL, ATTEMPT_LABEL)}
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector},
            }
        ]
    metadata = {"labels": labels, "annotations": annotations}
    return {"metadata": metadata, "spec": overlaid(spec, settings.pod)}


def pod_spec(settings: ClusterSettings, container: dict[str, Any]) -> dict[str, Any]:
    """What pods of stages and of the runner have in common, before the profile's overlay."""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.group,
            "fsGroup": settings.group,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [overlaid(container, settings.container)],
        "volumes": [_volume(settings, name) for name in settings.volumes],
    }
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    return spec


def container_security() -> dict[str, Any]:
    """Nothing that a process of ours needs is in here."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def scratch_volumes(*, disk: str | None) -> list[dict[str, Any]]:
    """Writable places of a pod; `disk` limits the large one."""
    scratch = {"sizeLimit": str(num_bytes(disk))} if disk else {}
    return [{"name": "scratch", "emptyDir": scratch}, {"name": "tmp", "emptyDir": {}}]


def volume_mounts(settings: ClusterSettings) -> list[dict[str, Any]]:
    """Scratch, /tmp and the profile's volumes."""
    mounts: list[dict[str, Any]] = [
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    for name, volume in settings.volumes.items():
        mount: dict[str, Any] = {"name": volume_name(name), "mountPath": settings.mount_of(name)}
        if volume.sub_path:
            mount["subPath"] = volume.sub_path
        if volume.read_only:
            mount["readOnly"] = True
        mounts.append(mount)
    return mounts


def volume_name(name: str) -> str:
    """The profile's volumes have a name space of their own."""
    return f"v-{name}"


def environment(settings: ClusterSettings, own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A pod's variables: where to write, what is the pod's own, what the profile adds.

    Libraries write to their home and to /tmp; a read-only root must not surprise them.
    """
    plain = {
        "HOME": f"{SCRATCH}/home",
        "USER": "pipeline",  # any user id will do, also one that the image has no name for
        "TMPDIR": f"{SCRATCH}/tmp",
        "XDG_CACHE_HOME": f"{SCRATCH}/cache",
        "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH}/cache/inductor",
        "TORCH_EXTENSIONS_DIR": f"{SCRATCH}/cache/extensions",
        "TRITON_CACHE_DIR": f"{SCRATCH}/cache/triton",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    variables = {name: {"name": name, "value": value} for name, value in plain.items()}
    for name, value in settings.env.items():
        variables[name] = {"name": name, **_value(value)}
    # Last, and whatever the profile says.
    return [*(variables | {one["name"]: one for one in own}).values()]


def _container(
    order: PodOrder, settings: ClusterSettings, *, address: str | None
) -> dict[str, Any]:
    own = [
        {"name": ORDER_VARIABLE, "value": f"{ORDER_FOLDER}/{ORDER_FILE}"},
        {"name": SCRATCH_VARIABLE, "value": SCRATCH},
        {"name": TERMINATION_VARIABLE, "value": TERMINATION_LOG},
        {"name": METRICS_PORT_VARIABLE, "value": str(AGENT_PORT)},
        {"name": METRICS_LINGER_VARIABLE, "value": str(settings.linger_seconds)},
        _field(POD_NAME_VARIABLE, "metadata.name"),
        _field(POD_NAMESPACE_VARIABLE, "metadata.namespace"),
        _field(POD_IP_VARIABLE, "status.podIP"),
        _field(UID_VARIABLE, "metadata.labels['batch.kubernetes.io/controller-uid']"),
        _field(RESTART_VARIABLE, "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"),
    ]
    if address is not None:
        own.append({"name": ADDRESS_VARIABLE, "value": address})
    probe = {"path": "/healthz", "port": CONTAINER}
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": list(AGENT_COMMAND),
        "workingDir": SCRATCH,
        "env": environment(settings, own),
        "ports": _ports(order),
        "resources": _resources(order, settings),
        "startupProbe": {
            "httpGet": probe,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(settings.startup_seconds / 5),
        },
        "livenessProbe": {
            "httpGet": probe,
            "periodSeconds": _PROBE_SECONDS,
            "timeoutSeconds": _PROBE_SECONDS,
            "failureThreshold": _PROBE_FAILURES,
            # Ranks that do not step do not save either.
            "terminationGracePeriodSeconds": _HUNG_GRACE_SECONDS,
        },
        "securityContext": container_security(),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "order", "mountPath": ORDER_FOLDER, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
            *volume_mounts(settings),
        ],
    }


def _ports(order: PodOrder) -> list[dict[str, Any]]:
    ports = [{"name": CONTAINER, "containerPort": AGENT_PORT, "protocol": "TCP"}]
    if order.job.launch is Launch.GANG and order.job.nodes > 1:
        ports.append({"name": "hub", "containerPort": HUB_PORT, "protocol": "TCP"})
    return ports


def _resources(order: PodOrder, settings: ClusterSettings) -> dict[str, Any]:
    """Requests and limits; CPU has no limit, since throttled ranks make all others wait."""
    job, asked = order.job, order.job.resources
    ranks = job.processes_per_node
    limits: dict[str, str] = {}
    if asked.memory:
        # What lies in /dev/shm counts as the pod's memory.
        limits["memory"] = str(num_bytes(asked.memory) * ranks + _shm_bytes(order) + _AGENT_BYTES)
    if asked.disk:
        limits["ephemeral-storage"] = str(num_bytes(asked.disk))
    if job.gpus_per_node:
        limits[settings.gpu_resource] = str(job.gpus_per_node)
    requests = {"cpu": str(job.cpus_per_process * ranks), **limits}
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _shm_bytes(order: PodOrder) -> int:
    if order.job.resources.shm:
        return num_bytes(order.job.resources.shm)
    many = order.job.launch is Launch.GANG and order.job.processes_per_node > 1
    return _SHM_GANG_BYTES if many else _SHM_BYTES


def _volume(settings: ClusterSettings, name: str) -> dict[str, Any]:
    volume = settings.volumes[name]
    if volume.claim is not None:
        source: dict[str, Any] = {"persistentVolumeClaim": {"claimName": volume.claim}}
    else:
        # Not DirectoryOrCreate: what the kubelet makes is root's, and no pod could write there.
        source = {"hostPath": {"path": volume.host_path, "type": "Directory"}}
    return {"name": volume_name(name), **source}


def _value(value: str | SecretKey | ConfigMapKey) -> dict[str, Any]:
    if isinstance(value, str):
        return {"value": value}
    source = {"key": value.key, **({"optional": True} if value.optional else {})}
    if isinstance(value, SecretKey):
        return {"valueFrom": {"secretKeyRef": {"name": value.secret, **source}}}
    return {"valueFrom": {"configMapKeyRef": {"name": value.config_map, **source}}}


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _kueue_topology(settings: ClusterSettings) -> dict[str, str]:
    wish = settings.topology
    if wish is None:
        return {}
    if isinstance(wish, str):
        wish = Topology(preferred=wish)
    if wish.required is not None:
        return {"kueue.x-k8s.io/podset-required-topology": wish.required}
    return {"kueue.x-k8s.io/podset-preferred-topology": wish.preferred or ""}
