"""Whether a cluster has what the pipeline needs, and the fix for each thing that it lacks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.resources import (
    ACCESS_REVIEW,
    CLAIM,
    JOBSET,
    LOCAL_QUEUE,
    NAMESPACE,
    NODE,
    WORKLOAD,
    Resource,
)
from pipeline.executors.kubernetes.rights import RIGHTS, Right
from pipeline.executors.kubernetes.wire import ApiError
from pipeline.spec.cluster import ClusterSettings, Volume

_OLDEST = (1, 31)
"""Pod failure policies are stable since."""
_SHARED = {"ReadWriteMany"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is empty when all is well."""

    name: str
    found: str
    fix: str = ""


def examine(cluster: Cluster, settings: ClusterSettings, *, needs_gpus: bool) -> Iterator[Finding]:
    """Looks at a cluster as the runner would use it; changes nothing.

    Args:
        cluster: as whoever asks may use it.
        settings: of the profile.
        needs_gpus: whether a stage asks for GPUs.
    """
    try:
        yield _version(cluster)
    except ApiError as exc:
        yield Finding("API server", str(exc), "Check the address and your login in KUBECONFIG.")
        return
    for look in (_rights, _jobset, _queue, _image):
        yield from look(cluster, settings)
    yield _gpus(cluster, settings, needs_gpus=needs_gpus)
    for name, volume in settings.volumes.items():
        yield _volume(cluster, name, volume)
    if not settings.volumes:
        yield Finding("shared volume", "none; the store has to be an object store")


def _version(cluster: Cluster) -> Finding:
    answer = cluster.raw("/version") or {}
    shown = f"{answer.get('gitVersion', 'unknown')} at {cluster.host}"
    digits = [
        "".join(c for c in str(answer.get(key, "")) if c.isdigit()) for key in ("major", "minor")
    ]
    version = tuple(int(one or 0) for one in digits)
    fix = (
        "" if version >= _OLDEST else "Upgrade to Kubernetes 1.31: pod failure policies are needed."
    )
    return Finding("API server", shown, fix)


def _rights(cluster: Cluster, settings: ClusterSettings) -> Iterator[Finding]:
    missing = []
    for right in RIGHTS:
        if right.resource is JOBSET and settings.gang != "jobset":
            continue
        if right.resource is WORKLOAD and settings.queue is None:
            continue
        missing += [
            f"{verb} {_shown(right)}"
            for verb in right.verbs
            if not right.is_optional and not _may(cluster, right, verb)
        ]
    place = f"in namespace {cluster.namespace}"
    if not missing:
        yield Finding("rights", f"all that a runner needs {place}")
        return
    fix = (
        f"kubectl apply -k k8s/base, and bind its Role pipeline-runner to this user: kubectl -n "
        f"{cluster.namespace} create rolebinding me --role=pipeline-runner --user=NAME"
    )
    yield Finding("rights", f"may not {', '.join(missing)} {place}", fix)


def _shown(right: Right) -> str:
    return f"{right.resource.plural}{'/' + right.subresource if right.subresource else ''}"


def _may(cluster: Cluster, right: Right, verb: str) -> bool:
    attributes = {
        "namespace": cluster.namespace,
        "verb": verb,
        "group": right.resource.group,
        "resource": right.resource.plural,
        "subresource": right.subresource,
    }
    question = {
        "apiVersion": ACCESS_REVIEW.api_version,
        "kind": ACCESS_REVIEW.kind,
        "spec": {"resourceAttributes": attributes},
    }
    answer = cluster.create_review(ACCESS_REVIEW, question)
    return bool((answer.get("status") or {}).get("allowed"))


def _group(cluster: Cluster, resource: Resource) -> list[str] | None:
    """Versions of an API group; None when it is not installed."""
    answer = cluster.raw(f"/apis/{resource.group}")
    return None if answer is None else [one["version"] for one in answer.get("versions", ())]


def _jobset(cluster: Cluster, settings: ClusterSettings) -> Iterator[Finding]:
    if settings.gang != "jobset":
        yield Finding("JobSet", "not used: cluster.gang is job")
        return
    versions = _group(cluster, JOBSET)
    if versions is not None and JOBSET.version in versions:
        yield Finding("JobSet", f"{JOBSET.group} {', '.join(versions)}")
        return
    found = "not installed" if versions is None else f"serves {', '.join(versions)} only"
    fix = (
        f"Install a JobSet release that serves {JOBSET.version} (kubectl apply --server-side -f its "
        "manifests.yaml), or set cluster.gang: job, which needs none."
    )
    yield Finding("JobSet", found, fix)


def _queue(cluster: Cluster, settings: ClusterSettings) -> Iterator[Finding]:
    if settings.queue is None:
        return
    versions = _group(cluster, LOCAL_QUEUE)
    if versions is None:
        fix = "Install Kueue, or remove cluster.queue."
        yield Finding("Kueue", "not installed", fix)
        return
    try:
        queue = cluster.get(LOCAL_QUEUE, settings.queue)
    except ApiError as exc:
        yield Finding("Kueue", f"LocalQueue {settings.queue} cannot be read ({exc.status})")
        return
    if queue is None:
        fix = (
            f"kubectl -n {cluster.namespace} get localqueues lists those there are: set "
            "cluster.queue to one, or have one made (k8s/overlays/kueue)."
        )
        yield Finding("Kueue", f"no LocalQueue {settings.queue} in {cluster.namespace}", fix)
        return
    conditions = (queue.get("status") or {}).get("conditions") or ()
    idle = [c for c in conditions if c.get("type") == "Active" and c.get("status") == "False"]
    fix = f"Have the ClusterQueue mended: {idle[0].get('message', '')}" if idle else ""
    yield Finding("Kueue", f"LocalQueue {settings.queue}, {', '.join(versions)}", fix)


def _image(cluster: Cluster, settings: ClusterSettings) -> Iterator[Finding]:
    if settings.image is None:
        fix = "Set cluster.image to an image of this code; k8s/README.md says how to build one."
        yield Finding("image", "none is set", fix)
        return
    yield Finding("image", f"{settings.image}, pulled {settings.pull_policy}")


def _gpus(cluster: Cluster, settings: ClusterSettings, *, needs_gpus: bool) -> Finding:
    try:
        nodes, _ = cluster.list(NODE)
    except ApiError as exc:
        return Finding("GPUs", f"nodes cannot be listed ({exc.status}); not looked at")
    name = settings.gpu_resource
    offered: dict[str, int] = {}
    for node in nodes:
        for resource, amount in ((node.get("status") or {}).get("allocatable") or {}).items():
            if "gpu" in resource.lower() and str(amount).isdigit():
                offered[resource] = offered.get(resource, 0) + int(amount)
    if offered.get(name):
        return Finding("GPUs", f"{offered[name]} {name} on {len(nodes)} nodes")
    others = ", ".join(sorted(one for one, amount in offered.items() if amount))
    found = f"no node offers {name}" + (f", but {others}" if others else "")
    if not needs_gpus:
        return Finding("GPUs", f"{found} (no stage asks for one)")
    fix = (
        f"Set cluster.gpu_resource to one of {others}."
        if others
        else "Install the device plugin of your GPUs, or set gpus_per_node: 0."
    )
    return Finding("GPUs", found, fix)


def _host_folder(cluster: Cluster, title: str, volume: Volume) -> Finding:
    shown = f"{volume.host_path} of each node; it has to be the same folder on all"
    try:
        namespace = cluster.get(NAMESPACE, cluster.namespace) or {"metadata": {}}
    except ApiError:
        return Finding(title, shown)
    level = (namespace["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce")
    if level not in ("baseline", "restricted"):
        return Finding(title, shown)
    fix = "Use a claim (k8s/overlays/cpu-test has one), or kubectl apply -k k8s/overlays/host-path."
    found = f"{volume.host_path} of each node, but {cluster.namespace} forbids that ({level})"
    return Finding(title, found, fix)


def _volume(cluster: Cluster, name: str, volume: Volume) -> Finding:
    title = f"volume {name}"
    if volume.claim is None:
        return _host_folder(cluster, title, volume)
    try:
        claim: dict[str, Any] | None = cluster.get(CLAIM, volume.claim)
    except ApiError as exc:
        return Finding(title, f"claim {volume.claim} cannot be read ({exc.status}); not looked at")
    if claim is None:
        fix = f"Make the claim: kubectl -n {cluster.namespace} apply -k k8s/base has one."
        return Finding(title, f"no PersistentVolumeClaim {volume.claim}", fix)
    modes = set((claim.get("spec") or {}).get("accessModes") or ())
    phase = (claim.get("status") or {}).get("phase", "unknown")
    shown = f"claim {volume.claim}: {phase}, {', '.join(sorted(modes))}"
    if not modes & _SHARED:
        fix = "Pods of several nodes write to it: it needs a storage class with ReadWriteMany."
        return Finding(title, shown, fix)
    fix = ""
    if phase == "Pending":
        shown += f", class {(claim.get('spec') or {}).get('storageClassName') or 'default'}"
        fix = (
            "It is bound to no volume. A class that waits for the first pod binds it then; else make "
            "its volume or storage class (k8s/overlays), see kubectl describe pvc."
        )
    elif phase == "Lost":
        fix = "Its volume is gone: make the claim anew."
    return Finding(title, shown, fix)
