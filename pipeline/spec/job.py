"""The order a worker gets: one attempt at one stage, complete and serialisable."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.resources import EngineConfig, Resources, Retry
from pipeline.spec.stage import Launch
from pipeline.storage.digests import digest_of


class EnvironmentValue(BaseModel):
    """A value of `config` that came from the environment, and may be a secret.

    Attributes:
        path: of the value within the configuration.
        variables: whose values are part of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: tuple[str | int, ...]
    variables: tuple[str, ...]


class Job(BaseModel):
    """One attempt at one stage; written as job.json into the attempt's folder before it starts.

    Attributes:
        pipeline: the DAG's name.
        run: id of the run.
        stage: address in the DAG, e.g. "finetune[seed=2]".
        attempt: counts from 1 within the run.
        attempt_id: unique over all runs; names the staging folder and fences the commit.
        kind: what `uses:` resolved to, e.g. "xlnet.pretrain" or "/abs/my_stage.py:SPEC".
        config: the canonical `with:` block (JSON types); the worker validates it again.
        inputs: port -> artifact digest, or a list of digests for a `many` port.
        input_stages: port -> addresses of the stages that made them, to name them to a person.
        plan_key, content_key: see `pipeline.planner.keys`; plan_key names staging and lease.
        code_digest: of the code that the keys stand for. The worker does not compare it: the runner
            compares code and sources themselves, before it submits the job and before it records
            what came of it.
        lease_token: who must hold the lease `plan_key` at commit; "" commits without one.
        store: fsspec URL of the artifact store.
        folder: local folder of the attempt: job.json, logs/, progress.json, metrics.jsonl, exits.
        scratch: local folder for what a stage may lose; "" for one in `folder`.
        key_parts: what plan_key is the digest of.
        resources, retry: as the DAG file says; what a cluster is asked for.
        environment: which values of `config` came from the environment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: str = ""
    run: str
    stage: str
    attempt: int
    attempt_id: str
    kind: str
    config: dict[str, Any]
    inputs: dict[str, str | list[str]]
    input_stages: dict[str, tuple[str, ...]] = {}
    plan_key: str
    content_key: str
    code_digest: str
    lease_token: str
    seed: int
    engine: EngineConfig
    launch: Launch
    nodes: int
    processes_per_node: int
    gpus_per_node: int
    cpus_per_process: int
    timeout_seconds: float | None
    grace_seconds: float
    store: str
    folder: str
    scratch: str = ""
    key_parts: dict[str, str | int | float | bool | None] = {}
    resources: Resources = Resources()
    retry: Retry = Retry()
    environment: tuple[EnvironmentValue, ...] = ()

    @property
    def state_key(self) -> str:
        """Names the durable state."""
        return state_key(self.plan_key, self.content_key)

    @property
    def world_size(self) -> int:
        """Processes in all: ranks of a gang, workers of a `workers` stage, or 1."""
        return self.nodes * self.processes_per_node


def scratch_folder(job: Job) -> Path:
    """Where ranks' scratch folders go; the agent removes them when its ranks have ended."""
    return Path(job.scratch) if job.scratch else AttemptFolder(Path(job.folder)).scratch


def state_key(plan_key: str, content_key: str) -> str:
    """Names durable state: what another content of the inputs left is not gone on with."""
    return f"{plan_key}-{content_key[:16]}"


def content_key_of(
    parts: Mapping[str, str | int | float | bool | None], inputs: Mapping[str, str | list[str]]
) -> str:
    """The content key of a stage of which only the key parts are left, as in a recorded result.

    Args:
        parts: what the plan key is the digest of.
        inputs: port -> artifact digest, or the list of a `many` port.
    """
    own = {name: value for name, value in parts.items() if not name.startswith("input.")}
    return digest_of("content", {"parts": own, "inputs": inputs})
