"""What commands need to talk to a cluster: the connection, and an executor for a DAG."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.executors.base import Executor
    from pipeline.executors.kubernetes.client import Cluster, Object
    from pipeline.executors.kubernetes.manifest.stages import Owner
    from pipeline.spec.cluster import ClusterSettings
    from pipeline.spec.dag import Dag
    from pipeline.spec.job import Job
    from pipeline.storage import Store


def connect(namespace: str, *, patience_seconds: float = 120.0) -> Cluster:
    """The cluster of KUBECONFIG or ~/.kube/config, else the one this pod is in.

    Raises:
        InfrastructureError: there is none.
    """
    from pipeline.executors.kubernetes.client import Cluster

    file = os.environ.get("KUBECONFIG") or None
    return Cluster(namespace, kubeconfig=file, patience_seconds=patience_seconds)


def kubernetes_executor(dag: Dag) -> Executor:
    """Runs the stages of a DAG as pods; `prepare_store` came first.

    Raises:
        InfrastructureError: the cluster cannot be reached, or lacks what is needed.
    """
    from pipeline.executors.kubernetes.executor import KubernetesExecutor
    from pipeline.executors.kubernetes.following import Patience
    from pipeline.executors.kubernetes.grace import measured_save_seconds
    from pipeline.executors.kubernetes.manifest.order import make_order, read_order
    from pipeline.executors.kubernetes.manifest.stages import stage_objects

    settings = dag.cluster
    cluster = connect(settings.namespace)
    owner = runner_job(cluster)

    def render(job: Job) -> list[Object]:
        save_seconds = measured_save_seconds(Path(job.folder))
        order = make_order(job, settings, environ=os.environ, save_seconds=save_seconds)
        return stage_objects(order, settings, owner=owner)

    return KubernetesExecutor(
        cluster,
        render,
        read_order,
        image=settings.image or "",
        uses_jobsets=settings.gang == "jobset",
        uses_queue=settings.queue is not None,
        patience=Patience(node_seconds=settings.node_wait_seconds),
    )


def prepare_store(dag: Dag, store: Store) -> None:
    """Before a run writes anything: pods will find what it names, and can write beside it.

    Raises:
        UserError: pods could not find what the DAG names, or this machine does not see the store.
    """
    from pipeline.executors.kubernetes.manifest.checks import check_cluster

    check_cluster(dataclasses.replace(dag, store=store.url))
    check_store_is_here(store, dag.cluster)
    _share_files(store, dag.cluster)


def check_store_is_here(store: Store, settings: ClusterSettings) -> None:
    """Passes when the store that pods have mounted is mounted on this machine too.

    Raises:
        UserError: it is not; a folder made here would be another one.
    """
    folder = store.local_path()
    if folder is None:
        return
    mounts = [Path(settings.mount_of(name)) for name in settings.volumes]
    for mount in mounts:
        if folder.is_relative_to(mount) and mount.is_dir():
            return
    msg = (
        f"the store {store.url} is on a volume of the pods that this machine does not see. Put the "
        "runner into the cluster with `pipeline run --on kubernetes --detach`, mount the volume "
        "here under the same path, or use an object store."
    )
    raise UserError(msg)


def _share_files(store: Store, settings: ClusterSettings) -> None:
    """Lets pods write beside what this process makes in a mounted store, if they are another user.

    Rights then are the volume's matter, as they are between the pods.
    """
    if store.local_path() is not None and os.geteuid() != settings.user:
        os.umask(0)


def runner_job(cluster: Cluster) -> Owner | None:
    """The Job whose pod this process is: stages go when it goes. None outside a cluster."""
    from pipeline.executors.kubernetes.client import is_in_pod
    from pipeline.executors.kubernetes.manifest.stages import Owner
    from pipeline.executors.kubernetes.resources import POD

    if os.environ.get("KUBECONFIG") or not is_in_pod():
        return None
    pod = cluster.get(POD, socket.gethostname())
    for one in (pod or {"metadata": {}})["metadata"].get("ownerReferences") or ():
        if one["kind"] == "Job":
            return Owner(one["apiVersion"], one["kind"], one["name"], one["uid"])
    return None
