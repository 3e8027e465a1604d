"""Why a runner in the cluster does not start, told once for each reason."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.executors.kubernetes.events import Warnings
from pipeline.executors.kubernetes.following import Patience
from pipeline.executors.kubernetes.resources import EVENT
from pipeline.executors.kubernetes.states import Pending, pending, trim_workload, view_workload
from pipeline.executors.kubernetes.wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.executors.kubernetes.client import Cluster
    from pipeline.executors.kubernetes.pods import PodView

_PATIENCE = Patience()


class Waiting:
    """Of one runner's Job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._why = ""
        self._kind = ""
        self._since = math.inf

    def look(self, cluster: Cluster, job: Mapping[str, Any], pods: Sequence[PodView]) -> None:
        """Prints a reason that is new.

        Raises:
            UserError: it will not start as things are.
        """
        if any(pod.is_running for pod in pods):
            self._kind = self._why = ""
            return
        workload = view_workload(trim_workload(job))
        newest = sorted(pods, key=lambda one: one.created)[-1:]
        found = pending(workload, newest, _warnings(cluster), queue_says="", num_pods=1)
        if found is None:
            return
        now = time.monotonic()
        if found.kind != self._kind:
            self._kind, self._since = found.kind, now
        if found.why != self._why:
            self._why = found.why
            print(f"{time.strftime('%H:%M:%S')} runner waits: {found.why}", flush=True)
        if now - self._since >= patience(found):
            msg = (
                f"the runner cannot start: {found.why}. {found.advice} It stays in the cluster: "
                f"`kubectl -n {cluster.namespace} delete job {self._name}` takes it away."
            )
            raise UserError(msg)


def patience(found: Pending) -> float:
    """Seconds after which waiting is given up; infinite where time may help."""
    if found.kind == "unschedulable":
        return _PATIENCE.no_fit_seconds if found.hopeless else math.inf
    if found.hopeless:
        return _PATIENCE.image_seconds
    return _PATIENCE.registry_seconds if found.kind == "image" else math.inf


def _warnings(cluster: Cluster) -> dict[str, str]:
    """The cluster's last warning about each object; none where they may not be read."""
    warnings = Warnings()
    try:
        events, _ = cluster.list(EVENT, fields="type=Warning")
    except ApiError:
        return {}
    for event in events:
        warnings.trim(event)
    return warnings.of_objects
