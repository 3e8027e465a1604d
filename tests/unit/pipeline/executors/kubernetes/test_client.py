"""Requests to the API server: what is sent, what is tried again, what is told."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InfrastructureError
from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.resources import JOB, POD, WORKLOAD
from pipeline.executors.kubernetes.wire import ApiError
from tests.kubernetes.api_server import ApiServer


def job(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {"parallelism": 1},
    }


def test_apply_twice_creates_once_and_keeps_what_others_set(
    cluster: Cluster, server: ApiServer
) -> None:
    first = cluster.apply(JOB, job("a"))
    server.edit("jobs", "a", lambda item: item.update(status={"active": 1}))
    second = cluster.apply(JOB, job("a"))
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["status"] == {"active": 1}


def test_get_absent_returns_none_and_delete_absent_returns_false(cluster: Cluster) -> None:
    assert cluster.get(JOB, "nothing") is None
    assert cluster.delete(JOB, "nothing") is False


def test_list_longer_than_a_page_returns_all(cluster: Cluster, server: ApiServer) -> None:
    for number in range(1201):
        server.put("pods", {"metadata": {"name": f"p{number:04}", "labels": {"a": "b"}}})
    items, version = cluster.list(POD, labels="a=b")
    assert [one["metadata"]["name"] for one in items] == [f"p{n:04}" for n in range(1201)]
    assert version == str(server.version)
    assert server.requests["GET pods"] == 3


def test_request_throttled_waits_as_long_as_it_is_told(cluster: Cluster, server: ApiServer) -> None:
    server.fault("PATCH", "jobs", status=429, headers={"Retry-After": "1"})
    began = time.monotonic()
    cluster.apply(JOB, job("a"))
    assert time.monotonic() - began >= 1.0
    assert cluster.calls["apply jobs"] == 2


@pytest.mark.parametrize("status", [500, 503, 0])
def test_request_to_a_restarting_server_is_tried_again(
    cluster: Cluster, server: ApiServer, status: int
) -> None:
    server.fault("GET", "jobs", status=status, times=2)
    assert cluster.list(JOB)[0] == []
    assert server.requests["GET jobs"] == 3


def test_apply_lost_a_race_is_tried_again(cluster: Cluster, server: ApiServer) -> None:
    server.fault("PATCH", "jobs", status=409, times=2)
    assert cluster.apply(JOB, job("a"))["metadata"]["name"] == "a"


def test_apply_to_a_field_of_another_manager_is_refused_at_once(
    cluster: Cluster, server: ApiServer
) -> None:
    server.fault("PATCH", "jobs", status=409, times=9, reason="FieldManagerConflict")
    with pytest.raises(ApiError, match="409 scripted"):
        cluster.apply(JOB, job("a"))
    assert server.requests["PATCH jobs"] == 1


def test_request_without_the_right_names_the_fix(cluster: Cluster, server: ApiServer) -> None:
    server.forbidden.add("jobs")
    with pytest.raises(ApiError, match=r"403 jobs is forbidden\. Have the rights of k8s/base"):
        cluster.list(JOB)
    assert server.requests["GET jobs"] == 1


def test_server_away_for_good_is_an_infrastructure_error(server: ApiServer, tmp_path: Path) -> None:
    file = str(server.kubeconfig(tmp_path))
    server.close()
    cluster = Cluster("pipeline", kubeconfig=file, patience_seconds=0.5)
    with pytest.raises(InfrastructureError, match=r"API server http://127.* cannot be reached"):
        cluster.list(JOB)


def test_no_kubeconfig_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="Set KUBECONFIG"):
        Cluster("pipeline", kubeconfig=str(tmp_path / "none"))


def test_log_streams_lines_of_a_pod(cluster: Cluster, server: ApiServer) -> None:
    server.logs["p"] = ["one", "two", "three"]
    lines = [line.split(b" ", 1)[1] for line in cluster.log("p", container="agent", tail_lines=2)]
    assert lines == [b"two", b"three"]


def test_log_of_a_pod_that_is_gone_is_404(cluster: Cluster) -> None:
    with pytest.raises(ApiError) as refused:
        cluster.log("p", container="agent")
    assert refused.value.status == 404


def test_kind_of_an_older_release_is_asked_for_in_its_version(
    cluster: Cluster, server: ApiServer
) -> None:
    assert cluster.served(WORKLOAD) == WORKLOAD
    older = replace(WORKLOAD, version="v2")
    assert cluster.served(older) == WORKLOAD
    server.missing.add(WORKLOAD.group)
    assert cluster.served(WORKLOAD) == WORKLOAD
