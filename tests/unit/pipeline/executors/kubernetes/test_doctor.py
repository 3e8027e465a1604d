"""What a cluster lacks is named with its fix; what it has is named too."""

from typing import Any

import pytest

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.doctor import Finding, examine
from pipeline.spec.cluster import ClusterSettings
from tests.kubernetes.api_server import ApiServer

SETTINGS: dict[str, Any] = {"image": "pipeline:1", "volumes": {"artifacts": {"claim": "artifacts"}}}


def node(**allocatable: str) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "4", **allocatable}}}


def claim(*modes: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "artifacts"},
        "spec": {"accessModes": list(modes)},
        "status": {"phase": "Bound"},
    }


@pytest.fixture
def healthy(server: ApiServer) -> ApiServer:
    server.put("nodes", node(**{"nvidia.com/gpu": "8"}))
    server.put("persistentvolumeclaims", claim("ReadWriteMany"))
    return server


def findings(cluster: Cluster, *, needs_gpus: bool = True, **more: Any) -> dict[str, Finding]:
    settings = ClusterSettings.model_validate(SETTINGS | more)
    return {one.name: one for one in examine(cluster, settings, needs_gpus=needs_gpus)}


def test_healthy_cluster_needs_no_fix(cluster: Cluster, healthy: ApiServer) -> None:
    found = findings(cluster)
    assert [one for one in found.values() if one.fix] == []
    assert "v1.36.0" in found["API server"].found
    assert found["GPUs"].found.startswith("8 nvidia.com/gpu")


def test_missing_rights_are_listed_with_what_gives_them(
    cluster: Cluster, healthy: ApiServer
) -> None:
    healthy.refused |= {("patch", "jobsets"), ("get", "pods/log")}
    rights = findings(cluster)["rights"]
    assert "patch jobsets" in rights.found
    assert "get pods/log" in rights.found
    assert "kubectl apply -k k8s/base" in rights.fix


def test_cluster_without_jobset_names_both_ways_out(cluster: Cluster, healthy: ApiServer) -> None:
    healthy.missing.add("jobset.x-k8s.io")
    assert "cluster.gang: job" in findings(cluster)["JobSet"].fix
    assert not findings(cluster, gang="job")["JobSet"].fix


def test_queue_that_is_not_there_is_named(cluster: Cluster, healthy: ApiServer) -> None:
    assert "no LocalQueue research" in findings(cluster, queue="research")["Kueue"].found
    healthy.put("localqueues", {"metadata": {"name": "research"}})
    assert not findings(cluster, queue="research")["Kueue"].fix
    healthy.missing.add("kueue.x-k8s.io")
    assert "Install Kueue" in findings(cluster, queue="research")["Kueue"].fix


def test_gpus_under_another_name_are_pointed_at(cluster: Cluster, healthy: ApiServer) -> None:
    healthy.put("nodes", node(**{"amd.com/gpu": "4"}))
    gpus = findings(cluster)["GPUs"]
    assert gpus.fix == "Set cluster.gpu_resource to one of amd.com/gpu."
    assert not findings(cluster, needs_gpus=False)["GPUs"].fix


def test_volume_for_one_node_alone_is_refused(cluster: Cluster, healthy: ApiServer) -> None:
    healthy.put("persistentvolumeclaims", claim("ReadWriteOnce"))
    assert "ReadWriteMany" in findings(cluster)["volume artifacts"].fix
    healthy.remove("persistentvolumeclaims", "artifacts")
    assert "no PersistentVolumeClaim artifacts" in findings(cluster)["volume artifacts"].found


def test_image_that_is_not_set_says_where_to_build_one(
    cluster: Cluster, healthy: ApiServer
) -> None:
    assert "k8s/README.md" in findings(cluster, image=None)["image"].fix


def test_claim_that_is_bound_to_nothing_is_told(cluster: Cluster, healthy: ApiServer) -> None:
    pending = claim("ReadWriteMany") | {"status": {"phase": "Pending"}}
    pending["spec"]["storageClassName"] = "pipeline-shared"
    healthy.put("persistentvolumeclaims", pending)
    volume = findings(cluster)["volume artifacts"]
    assert "Pending" in volume.found
    assert "pipeline-shared" in volume.found
    assert "k8s/overlays" in volume.fix


@pytest.mark.parametrize(("level", "is_fine"), [("restricted", False), ("privileged", True)])
def test_folder_of_the_host_is_told_of_where_the_namespace_forbids_it(
    cluster: Cluster, healthy: ApiServer, level: str, is_fine: bool
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level}
    healthy.put("namespaces", {"metadata": {"name": cluster.namespace, "labels": labels}})
    volumes = {"all": {"host_path": "/srv", "mount": "/all"}}
    volume = findings(cluster, volumes=volumes)["volume all"]
    assert (not volume.fix) is is_fine
