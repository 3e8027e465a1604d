"""A small laboratory: plans of toy stages, and an executor whose stages write real artifacts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.cache.artifacts import Artifacts
from pipeline.cache.results import Results
from pipeline.executors.base import AttemptEnd, Capacity
from pipeline.executors.fake import FakeExecutor, Script
from pipeline.planner.plan import Action, Plan, PlannedStage
from pipeline.runner.cancel import Cancellation
from pipeline.runner.outcome import Listener, RunOptions, RunOutcome
from pipeline.runner.record import Request, RunRecord, make_record
from pipeline.runner.run import resume, run
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.config import StageConfig
from pipeline.spec.dag import Connection, Dag, Stage
from pipeline.spec.job import Job
from pipeline.spec.ports import FOLDER, Port
from pipeline.spec.resources import EngineConfig, Resources, Retry
from pipeline.spec.stage import Launch, StageSpec
from pipeline.storage import Store
from pipeline.storage.digests import digest_of

RETRY = Retry(max_attempts=3, backoff_seconds=0)


class ToyConfig(StageConfig):
    """`say` goes into the output, `salt` into the key alone."""

    say: str
    salt: str = ""


@dataclasses.dataclass(frozen=True)
class Toy:
    """A stage: its text, the stages it reads, and what else a test cares about."""

    say: str
    reads: tuple[str, ...] = ()
    salt: str = ""
    launch: Launch = Launch.PROCESS
    resources: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    retry: Retry = RETRY
    max_parallel: int | None = None
    name: str = ""
    outputs: Mapping[str, Port] = dataclasses.field(default_factory=lambda: {"out": FOLDER})


class Lab:
    """Plans and runs toys in one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder)
        self.results = Results(self.store)
        self.cancellation = Cancellation()

    def plan(self, toys: Mapping[str, Toy], *, force: Sequence[str] = ()) -> Plan:
        """As the planner: a key from config and upstream keys, reuse where there is a result."""
        planned: dict[str, PlannedStage] = {}
        for address, toy in toys.items():
            stage = _stage(address, toy)
            upstream = {f"input.in.{n}": planned[a].plan_key for n, a in enumerate(toy.reads)}
            parts = {"with.say": toy.say, "with.salt": toy.salt, **upstream}
            key = digest_of("plan", parts)
            result = None if address in force else self.results.lookup(key)
            planned[address] = PlannedStage(
                stage=stage,
                key_parts=parts,
                plan_key=key,
                code_digest="c0de",
                action=Action.REUSE if result else Action.RUN,
                reasons=("hit: plan key" if result else "miss: never run",),
                artifacts=result.artifacts if result else {},
                forced=address in force,
            )
        return Plan(dag=self.dag({a: p.stage for a, p in planned.items()}), stages=planned)

    def dag(self, stages: Mapping[str, Stage]) -> Dag:
        """A DAG of these stages."""
        return Dag(
            name="toys",
            file=self.folder / "dag.yaml",
            on="local",
            store=None,
            cluster=ClusterSettings(),
            stages=stages,
            resolved={"name": "toys"},
        )

    def record(self, plan: Plan) -> RunRecord:
        """What run.json holds."""
        request = Request(file=str(plan.dag.file), text="name: toys\n")
        return make_record(plan.dag, self.store, request)

    def run(
        self,
        plan: Plan,
        executor: FakeExecutor,
        *,
        resume_run: str = "",
        listener: Listener | None = None,
        **options: Any,
    ) -> RunOutcome:
        """Runs or resumes."""
        chosen = RunOptions(workdir=self.folder, **options)
        if resume_run:
            return resume(
                plan,
                self.store,
                executor,
                chosen,
                run_id=resume_run,
                listener=listener,
                cancellation=self.cancellation,
            )
        return run(
            plan,
            self.store,
            executor,
            chosen,
            record=self.record(plan),
            listener=listener,
            cancellation=self.cancellation,
        )

    def executor(
        self,
        ends: Mapping[str, Sequence[int | AttemptEnd | None]] | None = None,
        *,
        capacity: Capacity | None = None,
        before: Callable[[Job], None] = lambda job: None,
    ) -> FakeExecutor:
        """Stages write what their config says; `ends` gives the ends of a stage's first attempts.

        `before` is called when an attempt's turn to end has come.
        """
        planned_ends = {address: list(codes) for address, codes in (ends or {}).items()}

        def script(job: Job) -> AttemptEnd | int | None:
            before(job)
            codes = planned_ends.get(job.stage)
            if codes:
                end = codes.pop(0)
                if isinstance(end, AttemptEnd):
                    return dataclasses.replace(end, attempt_id=job.attempt_id)
                if end != 0:
                    return end
            self.write(job)
            return 0

        return self._executor(script, capacity)

    def _executor(self, script: Script, capacity: Capacity | None) -> FakeExecutor:
        return FakeExecutor(script, capacity) if capacity else FakeExecutor(script)

    def write(self, job: Job) -> None:
        """What a worker does: outputs, parts, commit (but for independent workers)."""
        artifacts = Artifacts(self.store)
        ports = {"out": FOLDER}
        for rank in range(job.world_size):
            out = artifacts.staging(job.plan_key, job.attempt_id, "out", rank=rank)
            (out / f"{rank}.txt").write_text(f"{job.config['say']} {sorted(job.inputs.items())}")
            artifacts.write_part(job.plan_key, job.attempt_id, ports, rank=rank)
        if job.launch is not Launch.WORKERS:
            artifacts.commit(
                job.plan_key,
                job.attempt_id,
                ports,
                lease_token=job.lease_token,
                num_parts=job.world_size,
            )

    def text(self, digest: str) -> str:
        """What a toy said."""
        return (Artifacts(self.store).open(digest) / "0.txt").read_text()


def _stage(address: str, toy: Toy) -> Stage:
    return Stage(
        address=address,
        name=toy.name or address,
        matrix={},
        kind="toy",
        spec=StageSpec(
            name="toy",
            config=ToyConfig,
            run="toy:run",
            inputs={"in": Port(FOLDER.kind, many=True)},
            outputs=toy.outputs,
            launch=toy.launch,
        ),
        config=ToyConfig(say=toy.say, salt=toy.salt),
        inputs={"in": tuple(Connection(a, "out") for a in toy.reads)} if toy.reads else {},
        resources=Resources.model_validate(toy.resources),
        engine=EngineConfig(),
        retry=toy.retry,
        seed=0,
        max_parallel=toy.max_parallel,
    )
