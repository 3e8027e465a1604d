"""What a rank is told of its peers, and what it is not."""

from typing import Any

import pytest

from pipeline.node.rendezvous import Meeting, rank_environment, world_of
from pipeline.spec.context import World
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch
from tests.jobs import job_of

MEETING = Meeting("10.0.0.7", 29500)


def _gang(**fields: Any) -> Job:
    return job_of(launch=Launch.GANG, nodes=2, processes_per_node=3, **fields)


def test_world_counts_ranks_over_nodes() -> None:
    assert world_of(_gang(), node=1, local_rank=2) == World(5, 6, 2, 3, 1)


def test_environment_of_a_gang_has_all_five_names_deepspeed_asks_for() -> None:
    job = _gang()
    found = rank_environment(job, world_of(job, 1, 2), MEETING, devices=None)
    wanted = {
        "RANK": "5",
        "WORLD_SIZE": "6",
        "LOCAL_RANK": "2",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "29500",
    }
    assert wanted.items() <= found.items()
    assert "GLOO_SOCKET_IFNAME" not in found


def test_environment_on_one_machine_keeps_gloo_on_the_loopback() -> None:
    job = _gang()
    found = rank_environment(job, world_of(job, 0, 0), Meeting("127.0.0.1", 1), devices=None)
    assert found["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")


@pytest.mark.parametrize(
    ("gpus", "devices", "visible"),
    [(0, "", ""), (0, "0,1", ""), (2, "4,5", "4,5"), (2, None, None)],
)
def test_environment_shows_only_the_stages_gpus(
    gpus: int, devices: str | None, visible: str | None
) -> None:
    job = _gang(gpus_per_node=gpus)
    found = rank_environment(job, world_of(job, 0, 0), MEETING, devices)
    assert found.get("CUDA_VISIBLE_DEVICES") == visible
    assert found.get("DS_ACCELERATOR") == ("cpu" if gpus == 0 else None)


@pytest.mark.parametrize("launch", [Launch.PROCESS, Launch.WORKERS])
def test_environment_of_what_is_no_rank_names_no_world(launch: Launch) -> None:
    job = job_of(launch=launch, processes_per_node=2, cpus_per_process=3)
    found = rank_environment(job, world_of(job, 0, 1), MEETING, devices=None)
    assert found["OMP_NUM_THREADS"] == "3"
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} & set(found)
