"""Attempts of the toy kind on a real local executor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.executors.local.executor import LocalExecutor
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch
from tests.integration.node.attempts import TOYS, Attempt, MakeJob, Submit


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    local = LocalExecutor()
    yield local
    local.close()


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    numbers = iter(range(1000))

    def make(config: dict[str, Any], **fields: Any) -> Job:
        number = next(numbers)
        folder = tmp_path / "runs" / "r" / "stages" / "toy" / str(number)
        folder.mkdir(parents=True)
        values: dict[str, Any] = {
            "run": "r",
            "stage": "toy",
            "attempt": 1,
            "attempt_id": f"a{number}",
            "kind": f"{TOYS}:TOY",
            "config": config,
            "inputs": {},
            "plan_key": f"p{number}",
            "content_key": "c",
            "code_digest": "",
            "lease_token": "",
            "seed": 1,
            "engine": {},
            "launch": Launch.PROCESS,
            "nodes": 1,
            "processes_per_node": 1,
            "gpus_per_node": 0,
            "cpus_per_process": 1,
            "timeout_seconds": None,
            "grace_seconds": 20.0,
            "store": (tmp_path / "store").as_uri(),
            "folder": str(folder),
        }
        job = Job.model_validate(values | fields)
        (folder / "job.json").write_text(job.model_dump_json())
        return job

    return make


@pytest.fixture
def submit(executor: LocalExecutor, make_job: MakeJob) -> Submit:
    def start(
        do: str, *, by: int | None = None, otherwise: str = "write", **fields: Any
    ) -> Attempt:
        job = make_job({"do": do, "by": by, "otherwise": otherwise}, **fields)
        executor.submit(job)
        return Attempt(job, executor)

    return start
