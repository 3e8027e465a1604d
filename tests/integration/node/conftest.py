"""Attempts of the toy kind on a real local executor."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.executors.local.executor import LocalExecutor
from pipeline.spec.job import Job
from tests.integration.node.attempts import TOYS, Attempt, MakeJob, Submit
from tests.jobs import job_of

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def executor() -> Iterator[LocalExecutor]:
    """One for all tests that leave its agents alone: starting that takes half a second."""
    local = LocalExecutor()
    yield local
    local.close()


@pytest.fixture
def submit_alone(make_job: MakeJob) -> Iterator[Submit]:
    """As `submit`, on an executor of the test's own."""
    local = LocalExecutor()
    yield _submit_to(local, make_job)
    local.close()


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    def make(config: dict[str, Any], **fields: Any) -> Job:
        number = next(_NUMBERS)
        folder = tmp_path / "runs" / "r" / "stages" / "toy" / str(number)
        folder.mkdir(parents=True)
        values: dict[str, Any] = {
            "attempt_id": f"a{number}",
            "kind": f"{TOYS}:TOY",
            "config": config,
            "plan_key": f"p{number}",
            "store": (tmp_path / "store").as_uri(),
            "folder": str(folder),
        }
        job = job_of(**values | fields)
        (folder / "job.json").write_text(job.model_dump_json())
        return job

    return make


@pytest.fixture
def submit(executor: LocalExecutor, make_job: MakeJob) -> Submit:
    return _submit_to(executor, make_job)


def _submit_to(executor: LocalExecutor, make_job: MakeJob) -> Submit:
    def start(
        do: str, *, by: int | None = None, otherwise: str = "write", **fields: Any
    ) -> Attempt:
        job = make_job({"do": do, "by": by, "otherwise": otherwise}, **fields)
        executor.submit(job)
        return Attempt(job, executor)

    return start
