"""Kill -9 at every level: no process is left, and the executor knows what happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.spec.stage import Launch
from tests.integration.node.attempts import MakeJob, Submit, is_alive, pids_of, wait_for

RUNNER = """
import sys
from pathlib import Path
from pipeline.executors.local.executor import LocalExecutor
from pipeline.spec.job import Job
executor = LocalExecutor()
executor.submit(Job.model_validate_json(Path(sys.argv[1]).read_text()))
executor.wait(60)
"""


def _all(pids: dict[str, Any]) -> list[int]:
    return [pids["rank"], *pids["children"]]


@pytest.mark.parametrize(
    ("victim", "cause"),
    [
        ("rank", "rank 0 was killed by SIGKILL, not by us"),
        ("agent", "the agent of node 0 ended: SIGKILL"),
    ],
)
def test_kill_9_leaves_nothing_and_ends_the_attempt(
    submit_alone: Submit, victim: str, cause: str
) -> None:
    attempt = submit_alone(
        "family", otherwise="ignore stop", by=0, processes_per_node=2, launch=Launch.GANG
    )
    family, other = attempt.pids(0), attempt.pids(1)
    assert all(is_alive(pid) for pid in [*_all(family), other["rank"]])
    os.kill(family[victim], signal.SIGKILL)
    end = attempt.end(10)
    assert end.exit_code == 137
    assert end.cause.startswith(cause)
    everyone = [*_all(family), other["rank"]]
    wait_for(lambda: not any(is_alive(pid) for pid in everyone), 5)


def test_kill_9_of_the_runner_leaves_nothing(make_job: MakeJob) -> None:
    job = make_job({"do": "family"})
    order = Path(job.folder) / "job.json"
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(order)]) as runner:
        try:
            pids = pids_of(job)
            everyone = [*_all(pids), pids["agent"]]
            assert all(is_alive(pid) for pid in everyone)
        finally:
            runner.kill()
    # The kernel kills the rank before the runner is gone: a new runner cannot meet an old rank.
    wait_for(lambda: not is_alive(pids["rank"]), 0.5)
    wait_for(lambda: not any(is_alive(pid) for pid in everyone), 5)


def test_attempt_after_the_agent_was_killed_runs_on_a_new_one(submit_alone: Submit) -> None:
    first = submit_alone("wait for stop")
    agent = first.pids()["agent"]
    os.kill(agent, signal.SIGKILL)
    assert first.end(10).exit_code == 137
    second = submit_alone("write")
    assert second.end(30).exit_code == 0


def test_agent_killed_while_idle_costs_no_attempt(submit_alone: Submit) -> None:
    first = submit_alone("wait for stop")
    agent = first.pids()["agent"]
    first.stop()
    first.end()
    os.kill(agent, signal.SIGKILL)
    wait_for(lambda: not is_alive(agent), 5)
    assert submit_alone("write").end(30).exit_code == 0


def test_agent_has_one_thread(submit_alone: Submit) -> None:
    attempt = submit_alone("wait for stop")
    agent = attempt.pids()["agent"]
    assert len(list(Path(f"/proc/{agent}/task").iterdir())) == 1


def test_close_leaves_nothing(submit_alone: Submit) -> None:
    attempt = submit_alone("family")
    pids = attempt.pids()
    attempt.executor.close()
    assert [pid for pid in [*_all(pids), pids["agent"]] if is_alive(pid)] == []


def test_kill_9_of_one_of_two_agents_ends_the_attempt_on_both(submit_alone: Submit) -> None:
    attempt = submit_alone("ignore stop", launch=Launch.GANG, nodes=2)
    first, second = attempt.pids(0), attempt.pids(1)
    assert first["agent"] != second["agent"]
    os.kill(second["agent"], signal.SIGKILL)
    end = attempt.end(10)
    assert (end.exit_code, end.cause) == (137, "the agent of node 1 ended: SIGKILL")
    assert [pid for pid in (first["rank"], second["rank"]) if is_alive(pid)] == []


def test_end_of_an_attempt_sweeps_its_own_daemons_and_no_others(submit_alone: Submit) -> None:
    first, second = submit_alone("family"), submit_alone("family")
    mine, others = _all(first.pids()), _all(second.pids())
    os.kill(mine[0], signal.SIGKILL)
    assert first.end(10).exit_code == 137
    assert [pid for pid in mine if is_alive(pid)] == []
    assert [pid for pid in others if not is_alive(pid)] == []
