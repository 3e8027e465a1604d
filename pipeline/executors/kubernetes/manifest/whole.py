"""Every stage of a DAG as it would be run, without asking store or cluster: for applying by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.executors.kubernetes.manifest.checks import check_cluster, check_sources_are_here
from pipeline.executors.kubernetes.manifest.order import make_order
from pipeline.executors.kubernetes.manifest.stages import stage_objects
from pipeline.planner.digests import Digests
from pipeline.planner.keys import planned_stage
from pipeline.planner.plan import PlannedStage
from pipeline.spec.dag import Dag, Stage, environment_values
from pipeline.spec.job import Job
from pipeline.spec.pod import BY_HAND, InputPort, Upstream
from pipeline.spec.stage import Launch
from pipeline.storage import Store


@dataclass(frozen=True)
class RenderedStage:
    """A stage's address and its objects; none for a driver, whose cells nobody knows yet."""

    address: str
    objects: list[dict[str, Any]]


def render_stages(dag: Dag, *, environ: Mapping[str, str], workdir: Path) -> list[RenderedStage]:
    """The objects of every stage, upstream first; applied in any order they find together.

    Args:
        dag: read under the profile of the cluster.
        environ: what `${env.X}` was replaced from.
        workdir: local folder with the memo of digests.

    Raises:
        UserError: pods could not find something that the DAG names, or its keys cannot be told
            on this machine.
        StoreError: a source cannot be read.
    """
    check_cluster(dag)
    check_sources_are_here(dag)
    rendered: list[RenderedStage] = []
    keys: dict[str, str] = {}
    with Digests(workdir) as digests:
        for address, stage in dag.stages.items():
            planned = planned_stage(stage, keys, digests)
            keys[address] = planned.plan_key
            objects: list[dict[str, Any]] = []
            if stage.spec.launch is not Launch.DRIVER:
                order = make_order(
                    _job(dag, planned),
                    dag.cluster,
                    environ=environ,
                    inputs=_inputs(stage, keys),
                )
                objects = stage_objects(order, dag.cluster)
            rendered.append(RenderedStage(address, objects))
    return rendered


def _job(dag: Dag, planned: PlannedStage) -> Job:
    """What a runner would submit first, without what only a run knows."""
    stage, resources = planned.stage, planned.stage.resources
    launch = stage.spec.launch
    if dag.store is None:
        msg = "store: pods need one"
        raise UserError(msg)
    processes = {
        Launch.GANG: (resources.max_nodes, resources.ranks_per_node),
        Launch.WORKERS: (1, resources.workers),
    }
    nodes, processes_per_node = processes.get(launch, (1, 1))
    return Job(
        pipeline=dag.name,
        run=BY_HAND,
        stage=stage.address,
        attempt=1,
        attempt_id=BY_HAND,
        kind=stage.kind,
        config=stage.config.model_dump(mode="json"),
        inputs={},
        plan_key=planned.plan_key,
        content_key="",
        code_digest=planned.code_digest,
        lease_token="",
        seed=stage.seed,
        engine=stage.engine,
        launch=launch,
        nodes=nodes,
        processes_per_node=processes_per_node,
        gpus_per_node=resources.gpus_per_node,
        cpus_per_process=resources.cpus_per_process,
        timeout_seconds=stage.timeout_seconds,
        grace_seconds=0.0,  # make_order gives the cluster's
        store=Store(dag.store).url,
        folder="",
        key_parts=dict(planned.key_parts),
        resources=resources,
        retry=stage.retry,
        environment=environment_values(stage),
    )


def _inputs(stage: Stage, keys: Mapping[str, str]) -> dict[str, InputPort]:
    ports, _ = stage.spec.ports(stage.config)
    return {
        name: InputPort(
            upstream=tuple(
                Upstream(stage=one.stage, plan_key=keys[one.stage], port=one.port)
                for one in connections
            ),
            many=ports[name].many,
            optional=ports[name].optional,
        )
        for name, connections in stage.inputs.items()
    }
