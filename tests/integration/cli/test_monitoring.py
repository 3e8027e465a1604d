"""`--metrics-port` and `--webhook` from the command line, and GPU-hours in `status`."""

import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typing_extensions import override

from pipeline.cli.pace import Pace
from pipeline.cli.table import StageTable
from pipeline.errors import ExitCode
from pipeline.executors.local.machine import reserve_port
from pipeline.runner.state import AttemptState, StageState, StageStatus
from tests.terminal import pipeline

SECRET = "hush-hush"
TOKEN = "t0ken"
DAG = """\
name: small
stages:
  one:
    uses: command
    with: {argv: [sh, -c, 'echo x > "$0/x.txt"', '{outputs.o}'], outputs: {o: folder}}
"""


@pytest.fixture
def received() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The port of a receiver, and what it was sent."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            assert self.headers["X-Pipeline-Signature"].startswith("sha256=")
            self.send_response(204)
            self.end_headers()

        @override
        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1], taken
        server.shutdown()
        thread.join()


def test_run_with_a_webhook_tells_it_and_keeps_its_secrets(
    tmp_path: Path,
    received: tuple[int, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, taken = received
    (tmp_path / "dag.yaml").write_text(DAG)
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setenv("PIPELINE_WEBHOOK", f"http://127.0.0.1:{port}/{TOKEN}")
    arguments = ("run", "dag.yaml", "--webhook-secret-from", "MY_SECRET", "--metrics-port", "0")
    said = pipeline(tmp_path, *arguments)
    assert said.code == ExitCode.OK
    assert [(one.get("stage"), one["state"]) for one in taken] == [
        (None, "running"),
        ("one", "running"),
        ("one", "done"),
        (None, "succeeded"),
    ]
    for secret in (SECRET, TOKEN):
        assert secret not in said.out + said.err
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_run_with_a_taken_port_or_a_webhook_that_is_none_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "dag.yaml").write_text(DAG)
    with reserve_port() as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        said = pipeline(tmp_path, "run", "dag.yaml", "--metrics-port", port)
    assert said.code == ExitCode.USER_ERROR
    assert f"--metrics-port {port}: cannot listen there" in said.err
    said = pipeline(tmp_path, "run", "dag.yaml", "--webhook", f"file:///{TOKEN}")
    assert said.code == ExitCode.USER_ERROR
    assert TOKEN not in said.out + said.err
    assert not list(tmp_path.glob(".pipeline/runs/*/events/*"))


def test_stage_table_counts_gpu_hours_where_there_are_gpus() -> None:
    def stage(gpus: int) -> StageState:
        attempt = AttemptState(1, "i", "/f", 1, 0.0, 8, gpus, ended=1800.0, exit_class="counted")
        return StageState("a", "k", "gang", "p", StageStatus.FAILED, attempts=[attempt])

    console = Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(StageTable([stage(8)], Pace()))
    assert re.search(r"GPU-h \(wasted\) .*\n.* 4\.00 \(4\.00\)", captured.get())
    with console.capture() as captured:
        console.print(StageTable([stage(0)], Pace()))
    assert "GPU-h (wasted)" not in captured.get()
