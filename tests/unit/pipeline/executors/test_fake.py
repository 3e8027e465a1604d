"""The scripted executor keeps the protocol."""

import pytest

from pipeline.executors.base import AttemptEnd, Executor
from pipeline.executors.fake import FakeExecutor
from tests.jobs import job_of


def test_fake_executor_ends_each_attempt_once_in_order() -> None:
    executor: Executor = FakeExecutor(lambda job: 0 if job.attempt_id == "a" else 65)
    executor.submit(job_of(attempt_id="a"))
    executor.submit(job_of(attempt_id="b"))
    assert executor.wait(1) == (AttemptEnd("a", 0, None, ""),)
    assert executor.wait(1) == (AttemptEnd("b", 65, 0, "exit 65"),)
    assert executor.wait(0) == ()


@pytest.mark.parametrize(("now", "code"), [(False, 75), (True, 137)])
def test_fake_executor_ends_a_kept_attempt_when_stopped(now: bool, code: int) -> None:
    executor = FakeExecutor(lambda _job: None)
    executor.submit(job_of(attempt_id="a"))
    assert executor.wait(0) == ()
    executor.stop("a", now=now)
    assert [end.exit_code for end in executor.wait(1)] == [code]
    assert executor.running == {}
