"""One small real run, watched by a real Prometheus from its first to its last second."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.executors.local.machine import reserve_port
from tests.integration.monitoring.prometheus import Prometheus, running_prometheus

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RULES = ROOT / "k8s" / "alerts" / "pipeline.rules.yaml"


@dataclass(frozen=True)
class Watched:
    """The run and what Prometheus saw of it, Unix times in seconds."""

    prometheus: Prometheus
    begin: float
    end: float
    folder: Path


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    for name in ("dag.yaml", "counting.py", "fitting.py"):
        shutil.copy(HERE / name, folder)
    with watching(folder, "dag.yaml") as found:
        yield found


@contextmanager
def watching(folder: Path, *arguments: str, timeout_seconds: float = 500) -> Iterator[Watched]:
    """Runs a DAG in front of a Prometheus, with scrapers beside it that are stuck."""
    # Recording rules as often as it scrapes: a run of seconds has to be seen by them.
    rules = folder / "rules.yaml"
    rules.write_text(re.sub(r"interval: 30s", "interval: 1s", RULES.read_text()))
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
    with running_prometheus(folder / "prometheus", target=port, rules=[rules]) as prometheus:
        begin = time.time()
        options = ("--metrics-port", str(port), "--metrics-linger=10")
        run = start(folder, "run", *arguments, *options)
        with stuck_scrapers(port, run):
            output, _ = run.communicate(timeout=timeout_seconds)
        assert run.returncode == 0, output
        time.sleep(1.5)  # one more evaluation of the rules
        yield Watched(prometheus, begin, time.time(), folder)


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command line in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def stuck_scrapers(port: int, run: "subprocess.Popen[str]") -> Iterator[None]:
    """Twenty clients that ask for the page and never read it, with the least room for it."""
    clients: list[socket.socket] = []
    while len(clients) < 20 and run.poll() is None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        try:
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        except OSError:
            client.close()
            time.sleep(0.1)
        else:
            clients.append(client)
    try:
        yield  # a run that ended before says why itself
        assert len(clients) == 20
    finally:
        run.kill()
        for client in clients:
            client.close()
