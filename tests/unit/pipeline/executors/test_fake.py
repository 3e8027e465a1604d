"""The scripted executor keeps the protocol."""

import pytest

from pipeline.executors.base import AttemptEnd, Executor
from pipeline.executors.fake import FakeExecutor
from pipeline.spec.job import Job
from pipeline.spec.resources import EngineConfig
from pipeline.spec.stage import Launch


def _job(attempt_id: str) -> Job:
    return Job(
        run="r",
        stage="s",
        attempt=1,
        attempt_id=attempt_id,
        kind="k",
        config={},
        inputs={},
        plan_key="p",
        content_key="c",
        code_digest="",
        lease_token="",
        seed=0,
        engine=EngineConfig.model_validate({}),
        launch=Launch.PROCESS,
        nodes=1,
        processes_per_node=1,
        gpus_per_node=0,
        cpus_per_process=1,
        timeout_seconds=None,
        grace_seconds=1.0,
        store="",
        folder="",
    )


def test_fake_executor_ends_each_attempt_once_in_order() -> None:
    executor: Executor = FakeExecutor(lambda job: 0 if job.attempt_id == "a" else 65)
    executor.submit(_job("a"))
    executor.submit(_job("b"))
    assert executor.wait(1) == (AttemptEnd("a", 0, None, ""),)
    assert executor.wait(1) == (AttemptEnd("b", 65, 0, "exit 65"),)
    assert executor.wait(0) == ()


@pytest.mark.parametrize(("now", "code"), [(False, 75), (True, 137)])
def test_fake_executor_ends_a_kept_attempt_when_stopped(now: bool, code: int) -> None:
    executor = FakeExecutor(lambda _job: None)
    executor.submit(_job("a"))
    assert executor.wait(0) == ()
    executor.stop("a", now=now)
    assert [end.exit_code for end in executor.wait(1)] == [code]
    assert executor.running == {}
