"""What an attempt needs from the store: its lease, its job, its outputs. Decides nothing."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from pipeline.cache.artifacts import Artifacts
from pipeline.cache.results import Result, Results
from pipeline.cache.state import list_state, newest_number
from pipeline.errors import OutputError, StoreError
from pipeline.executors.base import Found
from pipeline.planner.drift import Drift, Drifted
from pipeline.planner.inputs import inputs_of
from pipeline.planner.keys import content_key
from pipeline.planner.plan import PlannedStage
from pipeline.runner.leases import LeaseKeeper
from pipeline.runner.outcome import RunOptions
from pipeline.runner.running import Prepared, Running, restarted_folder
from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.dag import environment_values
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch
from pipeline.storage import Store
from pipeline.storage.failures import cause_and_fix
from pipeline.storage.keys import check_key, safe_name

_log = logging.getLogger(__name__)

_IMPORT_SECONDS = 60.0
"""A worker has imported all of its stage's code by then: torch and DeepSpeed take ten."""


class Attempts:
    """Makes jobs, takes in what they built, and cleans up behind them."""

    def __init__(
        self, store: Store, keeper: LeaseKeeper, *, dag: str, run: str, options: RunOptions
    ) -> None:
        """For one session of the run `run` of the DAG `dag`."""
        self._store = store
        self._keeper = keeper
        self.artifacts = Artifacts(store)
        self._results = Results(store)
        self._dag = dag
        self._run = run
        self._options = options
        self._drift = Drift(options.workdir)
        self._retired: dict[str, Running] = {}

    def close(self) -> None:
        """Lets go of the memo of digests."""
        self._drift.close()

    def check_as_planned(self, prepared: Prepared, *, imported: float | None = None) -> None:
        """Passes when code and sources still are those that the keys stand for.

        State made while sources changed may be of both contents, so it is given up. Code is read
        when an attempt begins, right after it passed here; `imported` is as in `Drift.check`.

        Raises:
            ConfigError: they are not.
            StoreError: a source or the store cannot be read.
        """
        try:
            self._drift.check(prepared.planned, imported=imported)
        except Drifted as exc:
            if exc.sources:
                self._store.remove_tree(f"state/{prepared.state_key}")
            raise

    def find(self, key: str) -> Result | None:
        """The result under a key; None when there is none that can be used."""
        return self._results.lookup(key)

    def adopt(self, planned: PlannedStage, content_key: str, result: Result) -> None:
        """Makes a result that was found under one of a stage's keys findable under both.

        Raises:
            StoreError: the store failed.
        """
        keys = (planned.plan_key, content_key)
        if (result.plan_key, result.content_key) != keys:
            ours = {
                "plan_key": planned.plan_key,
                "content_key": content_key,
                "key_parts": dict(planned.key_parts),
            }
            self._results.record(keys[:1], result.model_copy(update=ours))
        self.note_latest(planned)

    def note_reused(
        self, planned: PlannedStage, artifacts_of: Callable[[str], Mapping[str, str]]
    ) -> None:
        """Makes what the plan reuses the last of its stage, findable under the stage's own keys.

        Args:
            planned: its action is REUSE.
            artifacts_of: address of a stage upstream -> port -> digest.

        Raises:
            StoreError: the store failed.
        """
        if not (planned.accepted or planned.same_content):
            self.note_latest(planned)
            return
        key = content_key(planned, inputs_of(planned.stage, artifacts_of))
        if planned.accepted:
            self.record_result(
                planned,
                key,
                planned.artifacts,
                attempt_id=f"{self._run}-accepted",
                provenance={"accepted_code": planned.code_digest},
            )
        elif (result := self.find(key)) is not None:  # else it was evicted a moment ago
            self.adopt(planned, key, result)

    def reserve(self, plan_key: str, going_on: str | None = None) -> str | None:
        """Takes the lease of a result; the id of the attempt that may build it, None when held.

        Args:
            plan_key: names the result.
            going_on: id of an attempt that works on it without a runner, and shall keep the lease.
        """
        if plan_key in self._retired:
            self.tidy()
        # New for each attempt: a process of an earlier one that still lives cannot commit.
        attempt_id = going_on or f"{self._run}-{secrets.token_hex(4)}"
        if not self._keeper.acquire(plan_key, attempt_id):
            return None
        # Nobody else may build it now: what is staged was left by those who were killed.
        for left in self._store.list(f"staging/{plan_key}"):
            if going_on is None or not left.startswith(going_on):
                self.artifacts.discard(plan_key, left)
        return attempt_id

    def holder(self, plan_key: str) -> str:
        """Who holds the lease of a result, for a person."""
        return self._keeper.holder(plan_key) or "another runner"

    def release(self, plan_key: str) -> None:
        """Gives the lease back."""
        self._keeper.release(plan_key)

    def why_lost(self, plan_key: str) -> str:
        """Why the lease of a running attempt is no longer its own, "" while it is."""
        return self._keeper.why_lost(plan_key)

    def make(self, prepared: Prepared, attempt: int, attempt_id: str) -> Running:
        """Writes the job of an attempt into its new folder; the lease is held.

        Raises:
            StoreError: the working folder cannot be written.
        """
        stage = prepared.planned.stage
        stages = self._stages_folder(self._run)
        # One that the journal lost in a crash of the machine may have left its files.
        while (folder := stages / safe_name(stage.address) / str(attempt)).exists():
            attempt += 1
        job = Job(
            pipeline=self._dag,
            run=self._run,
            stage=stage.address,
            attempt=attempt,
            attempt_id=attempt_id,
            kind=stage.kind,
            config=stage.config.model_dump(mode="json"),
            inputs=prepared.inputs,
            input_stages={
                port: tuple(one.stage for one in sources) for port, sources in stage.inputs.items()
            },
            plan_key=prepared.planned.plan_key,
            content_key=prepared.content_key,
            code_digest=prepared.planned.code_digest,
            lease_token=attempt_id,
            seed=stage.seed,
            engine=stage.engine,
            launch=stage.spec.launch,
            nodes=prepared.wanted.nodes,
            processes_per_node=prepared.wanted.processes_per_node,
            gpus_per_node=stage.resources.gpus_per_node,
            cpus_per_process=stage.resources.cpus_per_process,
            timeout_seconds=stage.timeout_seconds,
            grace_seconds=self._options.grace_seconds,
            store=self._store.url,
            folder=str(folder),
            key_parts=dict(prepared.planned.key_parts),
            resources=stage.resources,
            retry=stage.retry,
            environment=environment_values(stage),
        )
        if prepared.planned.forced and attempt == 1:
            # Built anew means from the start, not from the last checkpoint of what is there.
            self._store.remove_tree(f"state/{job.state_key}")
        self._write_job(job)
        return Running(prepared, job)

    def take_up(self, prepared: Prepared, found: Found, number: int) -> Running:
        """Makes an attempt that goes on without a runner one of this run; the lease is held.

        Args:
            prepared: its stage.
            found: as the executor knows it. It may be another run's, and keeps the folder it has.
            number: of the attempt, in this run.

        Raises:
            StoreError: the working folder cannot be written.
        """
        job = found.job
        folder = self._stages_folder(job.run) / safe_name(job.stage) / str(job.attempt)
        path = restarted_folder(str(folder), found.restarts)
        job = job.model_copy(update={"attempt": number, "folder": path})
        if not AttemptFolder(Path(path)).job.exists():
            self._write_job(job)
        return Running(prepared, job)

    def _stages_folder(self, run: str) -> Path:
        root = self._options.attempts or self._options.workdir
        return root.absolute() / "runs" / run / "stages"

    def _write_job(self, job: Job) -> None:
        folder = Path(job.folder)
        try:
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            # A value of the configuration may have come from the environment: for the owner alone.
            AttemptFolder(folder).job.touch(mode=0o600)
            AttemptFolder(folder).job.write_text(job.model_dump_json())
        except OSError as exc:
            cause, fix = cause_and_fix(exc)
            msg = f"cannot write {folder}: {cause}. {fix}"
            raise StoreError(msg) from exc

    def collect(self, running: Running) -> dict[str, str]:
        """Port -> digest of what a successful attempt built.

        Joins the parts of a `workers` stage; elsewhere the worker has committed already, and the
        same commit once more only gives the digests again.

        Raises:
            ConfigError: code or sources changed while it ran: it may have been built from others.
            OutputError: an output is empty, or two workers wrote the same file.
            LeaseLost: the attempt holds the lease no more.
            StoreError: the store failed.
        """
        job = running.job
        recorded = self.find(job.plan_key)
        if recorded is not None and recorded.attempt_id.startswith(f"{job.attempt_id}-"):
            return dict(recorded.artifacts)  # by its pods: they need no runner for it
        if missing := self.artifacts.missing_parts(job.plan_key, job.attempt_id, job.world_size):
            msg = (
                f"rank {missing[0]} ended with 0 before its outputs were taken in. "
                "Return from the stage; os._exit and exec leave nothing behind."
            )
            raise OutputError(msg)
        began = AttemptFolder(Path(job.folder)).job.stat().st_mtime
        self.check_as_planned(running.prepared, imported=began + _IMPORT_SECONDS)
        planned = running.prepared.planned
        _, outputs = planned.stage.spec.ports(planned.stage.config)
        return self.artifacts.commit(
            job.plan_key,
            job.attempt_id,
            outputs,
            lease_token=job.lease_token,
            num_parts=job.world_size,
            meta={"stage": job.stage, "kind": job.kind, "run": job.run},
            is_repetition=job.launch is not Launch.WORKERS,
        )

    def commit_written(self, planned: PlannedStage, port: str, files: Mapping[str, bytes]) -> str:
        """The digest of a small artifact that a driver wrote itself.

        Raises:
            OutputError: there is no file in it, or a name leads out of it.
            StoreError: the store failed.
        """
        attempt_id = f"{self._run}-{secrets.token_hex(4)}"
        _, outputs = planned.stage.spec.ports(planned.stage.config)
        ports = {port: replace(outputs[port], optional=False)}
        folder = self.artifacts.staging(planned.plan_key, attempt_id, port)
        try:
            for name, data in files.items():
                path = folder / check_key(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        except ValueError as exc:
            raise OutputError(str(exc)) from exc
        except OSError as exc:
            cause, fix = cause_and_fix(exc)
            msg = f"cannot write {folder}: {cause}. {fix}"
            raise StoreError(msg) from exc
        self.artifacts.write_part(planned.plan_key, attempt_id, ports)
        digests = self.artifacts.commit(planned.plan_key, attempt_id, ports, lease_token="")
        self.artifacts.discard(planned.plan_key, attempt_id)
        return digests[port]

    def record(self, running: Running, artifacts: Mapping[str, str], *, seconds: float) -> None:
        """Makes what an attempt built in `seconds` findable under both keys of its stage.

        Raises:
            StoreError: the store failed; the artifacts stay, and the stage runs again.
        """
        job = running.job
        placement: dict[str, JsonValue] = {
            "seconds": round(seconds, 3),
            "nodes": job.nodes,
            "processes_per_node": job.processes_per_node,
            "engine": job.engine.model_dump(mode="json"),
        }
        self.record_result(
            running.prepared.planned,
            job.content_key,
            artifacts,
            attempt_id=job.attempt_id,
            provenance=placement,
        )

    def record_result(
        self,
        planned: PlannedStage,
        content_key: str,
        artifacts: Mapping[str, str],
        *,
        attempt_id: str,
        provenance: Mapping[str, JsonValue],
    ) -> None:
        """Makes artifacts findable as the result of a stage of this run.

        Raises:
            StoreError: the store failed.
        """
        result = Result(
            artifacts=dict(artifacts),
            plan_key=planned.plan_key,
            content_key=content_key,
            stage=planned.stage.address,
            kind=planned.stage.kind,
            run=self._run,
            attempt_id=attempt_id,
            key_parts=dict(planned.key_parts),
            provenance=dict(provenance),
        )
        self._results.record((planned.plan_key, content_key), result)
        self.note_latest(planned)

    def note_latest(self, planned: PlannedStage) -> None:
        """Notes what this stage of this DAG was last, for `explain`."""
        self._results.set_latest(self._dag, planned.stage.address, planned.plan_key)

    def retire(self, running: Running) -> None:
        """Takes an ended attempt, for `tidy` to clean up behind when there is time."""
        self._retired[running.job.plan_key] = running

    def tidy(self) -> None:
        """Removes what retired attempts staged, then gives their leases back.

        A store that refuses is no reason to fail: whoever gets the lease sweeps again.
        """
        while self._retired:
            plan_key, running = self._retired.popitem()
            try:
                # Starts by a cluster stage under the attempt's id and something more.
                for left in self._store.list(f"staging/{plan_key}"):
                    if left.startswith(running.job.attempt_id):
                        self.artifacts.discard(plan_key, left)
            except StoreError as exc:
                _log.warning("what attempt %s staged is left: %s", running.job.attempt_id, exc)
            self._keeper.release(plan_key)

    def newest_step(self, job: Job) -> int | None:
        """The training step of the newest checkpoint under `state/`; None without one."""
        return newest_number(list_state(self._store, job.state_key))
