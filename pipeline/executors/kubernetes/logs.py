"""What ranks printed, live from their pods: `[rank N] line`, with a time that the server adds."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.pods import AGENT, view_pod
from pipeline.executors.kubernetes.resources import POD
from pipeline.executors.kubernetes.wire import ApiError

_RECONNECT_SECONDS = 1.0


def pod_of_rank(
    cluster: Cluster, plan_key: str, attempt_id: str, *, rank: int, restarts: int
) -> str | None:
    """The newest pod that runs, or ran, a rank of an attempt; None when there is none any more.

    Args:
        cluster: where the attempt runs.
        plan_key: of its result.
        attempt_id: as in its job.
        rank: over all of its processes.
        restarts: which start of it by the cluster.

    Raises:
        ApiError: the cluster does not answer.
    """
    pods, _ = cluster.list(POD, labels=f"pipeline/plan-key={plan_key[:32]}")
    fitting = [
        view_pod(pod)
        for pod in pods
        if _annotation(pod, "pipeline/attempt-id") == attempt_id and _runs(pod, rank)
    ]
    chosen = [pod for pod in fitting if pod.restart == restarts]
    return max(chosen, key=lambda pod: pod.created).name if chosen else None


def _annotation(pod: Mapping[str, Any], name: str) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(name, ""))


def _runs(pod: Mapping[str, Any], rank: int) -> bool:
    # The order says how many ranks a pod has; deferred, since most commands read no order.
    from pipeline.executors.kubernetes.manifest.order import read_order  # noqa: PLC0415

    job = read_order({"spec": {"template": pod}})
    return job is not None and rank // job.processes_per_node == view_pod(pod).index


class PodLog:
    """Lines of one rank, read by a thread while its pod prints them."""

    def __init__(self, cluster: Cluster, pod: str, rank: int, *, follow: bool) -> None:
        """Begins to read; `follow` goes on until the container ends."""
        self._cluster = cluster
        self._pod = pod
        self._prefix = f"[rank {rank}] ".encode()
        self._follow = follow
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def take(self) -> bytes:
        """What has come since the last time."""
        with self._lock:
            lines, self._lines = self._lines, []
        return b"".join(line + b"\n" for line in lines)

    @property
    def is_over(self) -> bool:
        """Whether no more will come."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Returns when all was read, or after this time."""
        self._thread.join(seconds)

    def close(self) -> None:
        """Reads no further."""
        self._end.set()

    def _read(self) -> None:
        since = ""
        while not self._end.is_set():
            for moment, line in self._stream(since):
                since = moment
                if line.startswith(self._prefix):
                    with self._lock:
                        self._lines.append(line.removeprefix(self._prefix))
            if not self._follow or self._has_ended():
                return
            time.sleep(_RECONNECT_SECONDS)

    def _stream(self, since: str) -> Iterator[tuple[str, bytes]]:
        """(time, line) after a time that was seen."""
        try:
            stream = self._cluster.log(
                self._pod, container=AGENT, follow=self._follow, since=since or None
            )
        except ApiError:
            return  # not started yet, or gone; `_has_ended` knows
        for raw in stream:
            if self._end.is_set():
                stream.close()
                return
            moment, _, line = raw.partition(b" ")
            told = moment.decode(errors="replace")
            # After a break the server begins with the whole second; a line's time has nanoseconds.
            if told > since:
                yield told, line

    def _has_ended(self) -> bool:
        try:
            pod = self._cluster.get(POD, self._pod)
        except ApiError:
            return False
        return pod is None or view_pod(pod).end is not None
