"""Stopping what a run has left in a cluster when no runner is there to be asked."""

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.manifest.names import RUN_LABEL, label_value
from pipeline.executors.kubernetes.pods import view_pod
from pipeline.executors.kubernetes.resources import JOB, JOBSET, POD
from pipeline.executors.kubernetes.states import trim_workload, view_workload
from pipeline.executors.kubernetes.wire import ApiError

_NOW_GRACE_SECONDS = 1


def stop_run(cluster: Cluster, run: str, *, now: bool) -> list[str]:
    """Deletes the workloads of a run that have not ended; their pods save first unless `now`.

    Returns:
        names of what was asked to end.

    Raises:
        ApiError: the cluster refused.
    """
    labels = f"{RUN_LABEL}={label_value(run)},app.kubernetes.io/component=stage"
    stopped = []
    for resource in (JOBSET, JOB):
        try:
            items, _ = cluster.list(resource, labels=labels)
        except ApiError as exc:
            if exc.status == 404:
                continue  # a cluster without JobSet
            raise
        for item in items:
            view = view_workload(trim_workload(item))
            # A Job of a JobSet goes with it, and has no annotation of ours.
            if view.attempt_id and not view.verdict and cluster.delete(resource, view.name):
                stopped.append(view.name)
    if now:
        pods, _ = cluster.list(POD, labels=labels)
        for pod in map(view_pod, pods):
            if pod.owner in stopped and not pod.is_over:
                cluster.delete(POD, pod.name, grace_seconds=_NOW_GRACE_SECONDS)
    return stopped
