"""What fits, what is ready, and what can never run here."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.executors.base import Capacity
from pipeline.planner.plan import Action, Plan, PlannedStage
from pipeline.runner.schedule import Demand, Ready, Slots, check_fits, demand, shortage
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.config import StageConfig
from pipeline.spec.dag import Dag, Origin, Stage
from pipeline.spec.resources import EngineConfig, NodeRange, Resources, Retry
from pipeline.spec.stage import Launch, StageSpec

SMALL = Capacity(cpus=4, memory_bytes=8 << 30, gpus=2)
CLUSTER = Capacity(cpus=None, memory_bytes=None, gpus=None)


def _stage(launch: Launch = Launch.PROCESS, **resources: object) -> Stage:
    return Stage(
        address="a",
        name="a",
        matrix={},
        kind="k",
        spec=StageSpec(name="k", config=StageConfig, run="m:f", launch=launch),
        config=StageConfig(),
        inputs={},
        resources=Resources.model_validate(resources),
        engine=EngineConfig(),
        retry=Retry(),
        seed=0,
    )


def test_demand_gang_counts_every_rank() -> None:
    stage = _stage(Launch.GANG, nodes=2, gpus_per_node=1, cpus_per_process=2, memory="1GiB")
    assert demand(stage, SMALL) == Demand(2, 1, 4, 2 << 30, 2)


def test_demand_elastic_gang_takes_the_nodes_that_fit() -> None:
    stage = _stage(Launch.GANG, nodes=NodeRange(min=1, max=8), processes_per_node=2)
    assert demand(stage, SMALL).nodes == 2
    assert demand(stage, CLUSTER).nodes == 8


def test_demand_workers_are_no_more_than_the_machine_holds() -> None:
    stage = _stage(Launch.WORKERS, workers=16, cpus_per_process=2)
    assert demand(stage, SMALL).processes_per_node == 2
    assert demand(stage, CLUSTER).processes_per_node == 16


def test_demand_process_ignores_gang_numbers() -> None:
    assert demand(_stage(nodes=4), SMALL) == Demand(1, 1, 1, 0, 0)


def test_shortage_names_what_lacks() -> None:
    assert shortage(Demand(1, 1, 1, 0, 3), SMALL) == "needs 3 GPUs, this machine has 2"
    assert shortage(Demand(1, 1, 4, 8 << 30, 2), SMALL) == ""


def _plan(*stages: Stage, action: Action = Action.RUN) -> Plan:
    planned = {
        s.address: PlannedStage(
            stage=s,
            key_parts={},
            plan_key=s.address,
            code_digest="",
            action=action,
            reasons=(),
            artifacts={},
        )
        for s in stages
    }
    dag = Dag(
        name="d",
        file=Path("/d/dag.yaml"),
        on="local",
        store=None,
        cluster=ClusterSettings(),
        stages={s.address: s for s in stages},
        resolved={},
    )
    return Plan(dag=dag, stages=planned)


def test_check_fits_names_every_stage_and_its_place() -> None:
    origins = {"stages.a.resources": Origin("file", "dag.yaml", 7, 5)}
    big = dataclasses.replace(_stage(Launch.GANG, nodes=8), origins=origins)
    other = dataclasses.replace(_stage(cpus_per_process=9), address="b", name="b")
    with pytest.raises(UserError) as error:
        check_fits(_plan(big, other), SMALL)
    first, second = str(error.value).splitlines()
    assert second.startswith(
        "dag.yaml:7:5: stages.a.resources: 8 processes: needs 8 CPUs, this machine has 4. Lower"
    )
    assert "stages.b.resources: 1 processes: needs 9 CPUs" in first


def test_check_fits_what_is_reused_needs_no_room() -> None:
    check_fits(_plan(_stage(Launch.GANG, nodes=8), action=Action.REUSE), SMALL)


def test_slots_never_give_more_than_there_is() -> None:
    slots = Slots(SMALL, jobs=None)
    stage = _stage()
    assert slots.take("a", stage, Demand(1, 3, 3, 0, 0))
    assert not slots.take("b", stage, Demand(1, 2, 2, 0, 0))
    assert slots.take("c", stage, Demand(1, 1, 1, 0, 0))
    assert slots.full
    slots.release("a")
    assert not slots.full
    assert slots.take("b", stage, Demand(1, 2, 2, 0, 0))


def test_slots_count_memory_and_gpus_too() -> None:
    slots = Slots(SMALL, jobs=None)
    assert slots.take("a", _stage(), Demand(1, 1, 1, 6 << 30, 1))
    assert not slots.take("b", _stage(), Demand(1, 1, 1, 3 << 30, 0))
    assert not slots.take("b", _stage(), Demand(1, 1, 1, 0, 2))


def test_slots_jobs_limit_attempts() -> None:
    slots = Slots(CLUSTER, jobs=1)
    assert slots.take("a", _stage(), Demand(1, 1, 1, 0, 0))
    assert slots.full


def test_slots_max_parallel_limits_one_matrix_only() -> None:
    slots = Slots(CLUSTER, jobs=None)
    cells = dataclasses.replace(_stage(), name="m", max_parallel=1)
    assert slots.take("m[x=1]", cells, Demand(1, 1, 1, 0, 0))
    assert not slots.take("m[x=2]", cells, Demand(1, 1, 1, 0, 0))
    assert slots.take("other", _stage(), Demand(1, 1, 1, 0, 0))
    slots.release("m[x=1]")
    assert slots.take("m[x=2]", cells, Demand(1, 1, 1, 0, 0))


def test_ready_stage_waits_for_all_its_inputs() -> None:
    ready = Ready({"a": [], "b": [], "c": ["a", "b", "a"], "d": ["c"]})
    assert ready.take() == ["a", "b"]
    ready.succeeded("a")
    assert not ready
    ready.succeeded("b")
    assert ready.take() == ["c"]
    assert ready.take() == []


def test_ready_below_finds_everything_downstream_once() -> None:
    ready = Ready({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []})
    assert sorted(ready.below("a")) == ["b", "c", "d"]
