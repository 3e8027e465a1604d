"""What a worker does around the stage's own code: inputs in, context, outputs committed."""

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.cache import Artifacts
from pipeline.cache.state import open_state
from pipeline.errors import ConfigError, DataError, OutputError, Preempted
from pipeline.metrics.recorder import FileRecorder, RankRecorder
from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext, World
from pipeline.spec.job import Job, scratch_folder
from pipeline.spec.kinds import load_entry, load_kind
from pipeline.spec.ports import Port, PortKind
from pipeline.spec.scores import SCORES_FILE, read_scores
from pipeline.spec.stage import Launch, StageSpec
from pipeline.storage import Store

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.5
_log = logging.getLogger(__name__)


def run_stage(
    job: Job, folder: AttemptFolder, world: World, should_stop: Callable[[], bool]
) -> None:
    """Runs this process's share of an attempt to its committed end.

    Ranks meet before the commit by their part manifests in the store, so it needs neither torch
    nor a network between nodes. The parts of a `workers` stage are joined by the runner.

    Raises:
        ConfigError: kind or configuration do not fit the installed code.
        InputError: an input is missing or damaged.
        Preempted: asked to stop; what `state` holds is where the next attempt goes on.
        Exception: whatever the stage's code raises.
    """
    if should_stop() and job.launch is not Launch.GANG:
        # A gang's ranks must agree on it: they ask in their training loop.
        msg = "asked to stop before the stage began"
        raise Preempted(msg)
    spec = load_kind(job.kind)
    config = _config(spec, job)
    run = load_entry(spec, job.kind)
    _, ports = spec.ports(config)
    store = Store(job.store)
    artifacts = Artifacts(
        store, cache_folder=folder.machine_cache, memo_folder=folder.verified_inputs
    )
    mirrors = folder.machine_cache / "state"
    scratch = scratch_folder(job) / str(world.rank)
    scratch.mkdir(parents=True, exist_ok=True)
    recorder = _recorder(job, folder, world)
    outputs = {
        port: artifacts.staging(job.plan_key, job.attempt_id, port, rank=world.rank)
        for port in ports
    }
    if job.launch is Launch.GANG and world.rank == 0:
        _log.info("configuration: %s", _shown_config(job))
    recorder.phase("running")
    try:
        run(
            StageContext(
                config=config,
                inputs=_open_inputs(artifacts, job.inputs),
                outputs=outputs,
                state=open_state(store, job.state_key, attempt_id=job.attempt_id, mirrors=mirrors),
                scratch=scratch,
                world=world,
                seed=job.seed,
                engine=job.engine,
                threads=job.cpus_per_process,
                recorder=recorder,
                should_stop=should_stop,
                input_stages=job.input_stages,
            )
        )
        recorder.phase("handing in the outputs")
    finally:
        recorder.close()
    if world.rank == 0:
        _check_all_scores(spec, ports, outputs)
    artifacts.write_part(job.plan_key, job.attempt_id, ports, rank=world.rank)
    if job.launch is not Launch.WORKERS and world.rank == 0:
        _await_parts(artifacts, job, should_stop)
        _commit(artifacts, job, ports)


def _recorder(job: Job, folder: AttemptFolder, world: World) -> FileRecorder | RankRecorder:
    if world.rank == 0:
        return FileRecorder(folder.path)
    return RankRecorder(folder.path, world.rank, is_gang=job.launch is Launch.GANG)


def _check_all_scores(
    spec: StageSpec, ports: Mapping[str, Port], outputs: Mapping[str, Path]
) -> None:
    for port in (name for name, port in ports.items() if port.kind is PortKind.SCORES):
        _check_scores(port, outputs[port], {score.name for score in spec.scores})


def _config(spec: StageSpec, job: Job) -> StageConfig:
    try:
        return spec.config.model_validate(job.config)
    except ValidationError as exc:
        problems = "; ".join(
            f"with.{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
            for error in exc.errors(include_url=False)
        )
        msg = f"{job.kind} as installed here refuses the configuration: {problems}"
        raise ConfigError(msg) from exc


def _open_inputs(
    artifacts: Artifacts, inputs: Mapping[str, str | list[str]]
) -> dict[str, Path | list[Path]]:
    return {
        port: artifacts.open(digests)
        if isinstance(digests, str)
        else [artifacts.open(digest) for digest in digests]
        for port, digests in inputs.items()
    }


def _shown_config(job: Job) -> str:
    """The configuration with `${env.NAME}` where a value came from the environment."""
    config = copy.deepcopy(job.config)
    for one in job.environment:
        place: Any = config
        for key in one.path[:-1]:
            place = place[key]
        place[one.path[-1]] = "".join(f"${{env.{name}}}" for name in one.variables)
    return json.dumps(config)


def _check_scores(port: str, folder: Path, promised: set[str]) -> None:
    """Raises OutputError for scores that nobody could read; an empty folder the commit judges."""
    if not any(folder.iterdir()):
        return
    try:
        found = set(read_scores(folder))
    except DataError as exc:
        msg = f"output port {port}: {exc}"
        raise OutputError(msg) from exc
    if promised and not promised & found:
        msg = (
            f"output port {port}: {SCORES_FILE} has none of the scores that the kind names: "
            f"{', '.join(sorted(promised))}. It has: {', '.join(sorted(found)) or 'none'}"
        )
        raise OutputError(msg)
    if promised and (others := sorted(found - promised)):
        _log.warning("%s: scores that the kind does not name: %s", port, ", ".join(others))


def _await_parts(artifacts: Artifacts, job: Job, should_stop: Callable[[], bool]) -> None:
    """Waits until every rank has written its part.

    A rank that fails instead ends this one too: its agent, or the runner for the agents of other
    nodes, sends SIGTERM.
    """
    pause = _FIRST_PAUSE_SECONDS
    while missing := artifacts.missing_parts(job.plan_key, job.attempt_id, job.world_size):
        if should_stop():
            msg = f"asked to stop while waiting for the outputs of ranks {missing}"
            raise Preempted(msg)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _commit(artifacts: Artifacts, job: Job, ports: Mapping[str, Port]) -> None:
    digests = artifacts.commit(
        job.plan_key,
        job.attempt_id,
        ports,
        lease_token=job.lease_token,
        num_parts=job.world_size,
        meta={"stage": job.stage, "kind": job.kind, "run": job.run},
    )
    for port, digest in digests.items():
        _log.info("committed %s as %s", port, digest)
