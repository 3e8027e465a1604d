"""Lines of one rank out of a pod's log, also when the connection breaks."""

import time
from typing import Any

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.logs import PodLog, pod_of_rank
from pipeline.executors.kubernetes.manifest.order import make_order
from pipeline.executors.kubernetes.manifest.stages import stage_objects
from pipeline.spec.cluster import ClusterSettings
from tests.jobs import job_of
from tests.kubelet import pod_template
from tests.kubernetes.api_server import ApiServer

KEY = "0123456789" * 6


def put_pods(server: ApiServer) -> None:
    """Two nodes of two ranks, of two starts by the cluster."""
    job = job_of(
        launch="gang", nodes=2, processes_per_node=2, plan_key=KEY, attempt_id="mine", store="/s"
    )
    settings = ClusterSettings(image="i")
    template = pod_template(stage_objects(make_order(job, settings, environ={}), settings)[0])
    for restart in (0, 1):
        for index in (0, 1):
            labels: dict[str, Any] = {
                **template["metadata"]["labels"],
                "batch.kubernetes.io/job-completion-index": str(index),
                "jobset.sigs.k8s.io/restart-attempt": str(restart),
            }
            metadata = {**template["metadata"], "name": f"p{index}-{restart}", "labels": labels}
            status = {"phase": "Succeeded" if restart else "Failed"}
            server.put("pods", {"metadata": metadata, "spec": template["spec"], "status": status})


def test_pod_of_a_rank_is_found_by_attempt_start_and_node(
    cluster: Cluster, server: ApiServer
) -> None:
    put_pods(server)
    for rank, restarts, pod in ((0, 0, "p0-0"), (1, 0, "p0-0"), (2, 1, "p1-1"), (3, 1, "p1-1")):
        assert pod_of_rank(cluster, KEY, "mine", rank=rank, restarts=restarts) == pod
    assert pod_of_rank(cluster, KEY, "another", rank=0, restarts=0) is None
    assert pod_of_rank(cluster, KEY, "mine", rank=0, restarts=2) is None


def test_log_of_a_rank_leaves_out_the_others_and_the_times(
    cluster: Cluster, server: ApiServer
) -> None:
    put_pods(server)
    server.logs["p0-1"] = ["[rank 0] one", "[rank 1] other", "agent says", "[rank 0] two"]
    log = PodLog(cluster, "p0-1", 0, follow=False)
    log.wait(10)
    assert log.take() == b"one\ntwo\n"
    assert log.take() == b""


def test_followed_log_goes_on_until_the_container_ends(cluster: Cluster, server: ApiServer) -> None:
    put_pods(server)
    server.logs["p0-1"] = ["[rank 0] one"]
    log = PodLog(cluster, "p0-1", 0, follow=True)
    text, give_up = b"", time.monotonic() + 10
    while b"one" not in text and time.monotonic() < give_up:
        text += log.take()
    server.logs["p0-1"].append("[rank 0] two")
    server.ended_logs.add("p0-1")
    log.wait(10)
    assert log.is_over
    assert text + log.take() == b"one\ntwo\n"
