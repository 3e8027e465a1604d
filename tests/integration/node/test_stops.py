"""Asking an attempt to stop: SIGTERM reaches every rank, and the grace period ends."""

import os
import signal
import time

import pytest

from pipeline.spec.attempt import NodeExit
from pipeline.spec.stage import Launch
from tests.integration.node.attempts import Submit


def test_stop_lets_the_stage_save_and_exits_75(submit: Submit) -> None:
    attempt = submit("wait for stop")
    attempt.pids()
    attempt.stop()
    end = attempt.end()
    assert (end.exit_code, end.cause) == (75, "rank 0: Preempted: state saved at step 3")
    assert (attempt.state / "saved-0").read_text() == "step 3"


def test_stop_before_the_stage_begins_exits_75_too(submit: Submit) -> None:
    attempt = submit("write")
    attempt.stop()
    assert attempt.end().exit_code in (0, 75)  # whichever came first; never a crash


def test_stop_of_a_rank_that_ignores_it_kills_it_after_the_grace_period(submit: Submit) -> None:
    attempt = submit("ignore stop", grace_seconds=0.3)
    attempt.pids()
    attempt.stop()
    end = attempt.end(5)
    assert end.exit_code == 137
    assert end.cause == "rank 0 had not ended 0.3 s after SIGTERM and was killed"


def test_stop_now_waits_for_nobody(submit: Submit) -> None:
    attempt = submit("ignore stop")
    attempt.pids()
    attempt.stop(now=True)
    end = attempt.end(5)
    assert (end.exit_code, end.cause) == (137, "ended at once, as asked")


def test_stop_of_an_attempt_that_ended_is_harmless(submit: Submit) -> None:
    attempt = submit("write")
    attempt.end()
    attempt.stop(now=True)
    assert attempt.executor.wait(0.1) == []


def test_wait_without_an_end_takes_the_time_it_was_given(submit: Submit) -> None:
    attempt = submit("ignore stop")
    attempt.pids()
    start = time.monotonic()
    assert attempt.executor.wait(0.2) == []
    assert 0.19 < time.monotonic() - start < 2


@pytest.mark.filterwarnings("ignore")
def test_sigterm_to_one_of_two_agents_has_all_ranks_save_the_same_step(submit: Submit) -> None:
    attempt = submit("vote", launch=Launch.GANG, nodes=2, processes_per_node=1, grace_seconds=60)
    os.kill(attempt.pids(1)["agent"], signal.SIGTERM)
    end = attempt.end(60)
    assert end.exit_code == 75
    saved = [(attempt.state / f"saved-{rank}").read_text() for rank in (0, 1)]
    assert saved[0] == saved[1]
    for node in (0, 1):
        record = NodeExit.read(attempt.folder.node_exit(node))
        assert record is not None
        assert record.exit_code == 75
