"""What an agent serves while its ranks work, and what scrapers cannot do to it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.executors.local.machine import reserve_port
from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.job import Job
from tests.integration.node.attempts import MakeJob, pids_of, wait_for
from tests.scrapes import scrape


@contextmanager
def _agent(job: Job, **environment: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """An agent as a pod starts it, and the port of its pages."""
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
    order = str(AttemptFolder(Path(job.folder)).job)
    command = [sys.executable, "-m", "pipeline.node.agent", order, "0", "127.0.0.1", "29511"]
    variables = {"PIPELINE_METRICS_PORT": str(port), **environment}
    with subprocess.Popen(command, env=os.environ | variables) as agent:
        try:
            yield agent, port
        finally:
            agent.kill()


def _scrape(port: int) -> dict[str, float]:
    return {
        f"{one.name}{one.labels.get('rank', '')}": one.value
        for one in scrape(port)
        if one.labels["stage"] == "toy" and one.labels["attempt"] == "1"
    }


def test_agent_serves_health_and_the_joined_numbers_of_its_ranks(make_job: MakeJob) -> None:
    job = make_job({"do": "count items"}, processes_per_node=2, launch="workers", stage="toy")
    pod = {"PIPELINE_POD_NAME": "toy-0", "PIPELINE_POD_NAMESPACE": "research"}
    with _agent(job, **pod) as (agent, port):
        pids_of(job, 0), pids_of(job, 1)
        found = _scrape(port)
        assert found["pipeline_stage_items_total"] == 3 + 4
        assert found["pipeline_host_memory_bytes0"] == found["pipeline_host_memory_bytes1"] == 1e6
        assert found["pipeline_node_ranks"] == 2
        assert found["pipeline_pod_info"] == found["pipeline_build_info"] == 1
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        agent.terminate()
        assert agent.wait(20) == 75


def test_agent_lingers_for_one_scrape_of_the_final_values(make_job: MakeJob) -> None:
    job = make_job({"do": "write"}, stage="toy")
    with _agent(job, PIPELINE_METRICS_LINGER_SECONDS="60") as (agent, port):
        wait_for(AttemptFolder(Path(job.folder)).node_exit(0).exists)
        time.sleep(0.1)
        assert agent.poll() is None
        assert _scrape(port)["pipeline_node_ranks"] == 1
        assert agent.wait(20) == 0


def test_agent_asked_to_stop_lingers_no_more(make_job: MakeJob) -> None:
    job = make_job({"do": "wait for stop"}, stage="toy")
    with _agent(job, PIPELINE_METRICS_LINGER_SECONDS="60") as (agent, _):
        pids_of(job)
        agent.terminate()
        assert agent.wait(20) == 75


def test_agent_with_scrapers_that_hang_still_does_its_work(make_job: MakeJob) -> None:
    job = make_job({"do": "wait for stop"}, stage="toy")
    with _agent(job) as (agent, port):
        pids_of(job)
        stuck = []
        for text in (b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n", b""):
            stuck += [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            for client in stuck[-20:]:
                client.sendall(text)
        assert _scrape(port)["pipeline_node_ranks"] == 1
        agent.terminate()
        assert agent.wait(20) == 75
        for client in stuck:
            client.close()
