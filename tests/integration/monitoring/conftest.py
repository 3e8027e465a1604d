"""One small real run, watched by a real Prometheus from its first to its last second."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
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
    # Recording rules as often as it scrapes: a run of seconds has to be seen by them.
    rules = folder / "rules.yaml"
    rules.write_text(re.sub(r"interval: 30s", "interval: 1s", RULES.read_text()))
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
    with running_prometheus(folder / "prometheus", target=port, rules=[rules]) as prometheus:
        begin = time.time()
        ended = subprocess.run(
            [
                *(sys.executable, "-c", "from pipeline.cli.main import main; main()"),
                *("run", "dag.yaml", "--metrics-port", str(port), "--metrics-linger", "10"),
            ],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CI": "1"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
        time.sleep(1.5)  # one more evaluation of the rules
        yield Watched(prometheus, begin, time.time(), folder)
