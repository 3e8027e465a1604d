"""Jobs by the field that matters."""

from typing import Any

from pipeline.spec.job import Job
from pipeline.spec.stage import Launch


def job_of(**fields: Any) -> Job:
    """A small valid job, with `fields` of it replaced."""
    values: dict[str, Any] = {
        "run": "r",
        "stage": "s",
        "attempt": 1,
        "attempt_id": "a",
        "kind": "k",
        "config": {},
        "inputs": {},
        "plan_key": "p",
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
        "store": "",
        "folder": "",
    }
    return Job.model_validate(values | fields)
