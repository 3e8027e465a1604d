"""A simulated cluster, and a user at its shell: `pipeline run --on kubernetes` in a process."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.runner.journal import list_runs, load_run
from pipeline.runner.state import RunState
from pipeline.storage import Store
from tests.integration.kills import COMMAND
from tests.kubernetes.api_server import api_server
from tests.kubernetes.simulation import Simulation, simulation

TOYS = Path(__file__).parents[1] / "runner" / "toys.py"
WAIT_SECONDS = 240.0


@dataclass
class Shell:
    """A folder that pods see too, with a DAG in it, and the commands started there."""

    folder: Path
    kubeconfig: Path
    cluster: Simulation
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "store"))

    def write_dag(self, stages: Mapping[str, Any], **cluster: Any) -> None:
        settings = {
            "image": "pipeline:test",
            "grace_seconds": 10,
            "volumes": {"all": {"host_path": str(self.folder), "mount": str(self.folder)}},
            "user": os.geteuid() or 1000,
            **cluster,
        }
        dag = {
            "name": "Kube.Test",
            "stages": stages,
            "profiles": {
                "cluster": {
                    "on": "kubernetes",
                    "store": f"file://{self.folder}/store",
                    "cluster": settings,
                }
            },
        }
        (self.folder / "dag.yaml").write_text(json.dumps(dag))

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *command],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1"},
            )
        self.started.append(process)
        return process

    def run(self, *more: str) -> subprocess.Popen[bytes]:
        return self.start("run", "dag.yaml", "--profile", "cluster", *more)

    def say(self, *command: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [*COMMAND, *command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1"},
            timeout=WAIT_SECONDS,
            check=False,
        )
        return done.stdout + done.stderr

    def log(self) -> str:
        return (self.folder / "output.log").read_text()

    def finish(self, command: subprocess.Popen[bytes], code: int = 0) -> RunState:
        assert command.wait(WAIT_SECONDS) == code, self.log()
        return self.state()

    def state(self) -> RunState:
        return load_run(self.store, list_runs(self.store)[-1])

    def wait_for(self, condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < give_up, self.log()
            time.sleep(0.02)

    def rank_has_begun(self, rank: int) -> bool:
        """Whether its log is there."""
        return any((self.folder / "store" / "runs").glob(f"*/stages/*/*/logs/rank-{rank}.log"))

    def checkpoints(self) -> int:
        """Steps that are saved."""
        return len(list((self.folder / "store").glob("state/*/step-*")))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "shared"
    folder.mkdir()
    shutil.copy(TOYS, folder)
    with api_server() as server, simulation(server, tmp_path) as cluster:
        user = Shell(folder, server.kubeconfig(tmp_path), cluster)
        yield user
        for process in user.started:
            process.kill()
            process.wait()
