"""The agent by itself, as a pod starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.spec.attempt import AttemptFolder, NodeExit
from pipeline.spec.job import Job
from tests.integration.node.attempts import MakeJob, is_alive, pids_of, wait_for


def _command(job: Job) -> list[str]:
    order = str(AttemptFolder(Path(job.folder)).job)
    return [sys.executable, "-m", "pipeline.node.agent", order, "0", "127.0.0.1", "29511"]


def test_agent_ends_with_the_code_of_the_stage(make_job: MakeJob) -> None:
    job = make_job({"do": "bad data"}, processes_per_node=2, launch="gang")
    assert subprocess.run(_command(job), timeout=60, check=False).returncode == 65
    record = NodeExit.read(AttemptFolder(Path(job.folder)).node_exit(0))
    assert record is not None
    assert "byte 17 is no UTF-8" in record.cause


def test_agent_passes_sigterm_on_and_ends_with_75(make_job: MakeJob) -> None:
    job = make_job({"do": "wait for stop"})
    with subprocess.Popen(_command(job)) as agent:
        pids_of(job)
        agent.terminate()
        assert agent.wait(20) == 75


def test_agent_as_pid_1_reaps_what_others_leave_and_ends(make_job: MakeJob) -> None:
    if subprocess.run(["unshare", "-pf", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to make a PID namespace (unshare -pf)")
    job = make_job({"do": "family"})
    outer = ["unshare", "--pid", "--fork", "--mount-proc", *_command(job)]
    with subprocess.Popen(outer) as unshare:
        pids = pids_of(job)  # as they are called inside
        assert pids["agent"] == 1
        inside = _children(_children([unshare.pid]))
        assert len(inside) >= 1
        os.kill(inside[0], signal.SIGKILL)
        assert unshare.wait(20) == 137
    wait_for(lambda: not any(is_alive(pid) for pid in inside), 5)


def _children(pids: list[int]) -> list[int]:
    return [
        int(child)
        for pid in pids
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]
