"""A real Prometheus on the loopback, that scrapes and evaluates every second."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.executors.local.machine import reserve_port
from tests.debian import debian_program

_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}}
rule_files: {rules}
scrape_configs:
  - job_name: pipeline
    honor_labels: true
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class QueryError(AssertionError):
    """Prometheus refused an expression."""


@dataclass(frozen=True)
class Prometheus:
    """The server at a port of this machine."""

    port: int

    def query(self, expr: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query; a scalar is one series."""
        fields = {"query": expr} | ({} if at is None else {"time": str(at)})
        found = self._get("query", fields)
        return found["result"] if found["resultType"] == "vector" else [{"metric": {}}]

    def range(self, expr: str, start: float, end: float) -> list[dict[str, Any]]:
        """The series of a range query, a point a second."""
        fields = {"query": expr, "start": str(start), "end": str(end), "step": "1"}
        result: list[dict[str, Any]] = self._get("query_range", fields)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health."""
        return [rule for group in self._get("rules", {})["groups"] for rule in group["rules"]]

    def _get(self, what: str, fields: dict[str, str]) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}"
        data = urllib.parse.urlencode(fields).encode() if fields else None
        try:
            with urllib.request.urlopen(url, data, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as exc:
            with exc:
                message = f"{fields.get('query')}: {exc.read().decode()}"
            raise QueryError(message) from exc


@contextmanager
def running_prometheus(
    folder: Path, *, target: int, rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Scrapes `target`, a port of this machine, until left."""
    program = debian_program("prometheus", "prometheus")
    folder.mkdir(parents=True)
    config = folder / "prometheus.yml"
    config.write_text(_CONFIG.format(rules=json.dumps([str(path) for path in rules]), port=target))
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--query.lookback-delta=5s",
    ]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={"GOMAXPROCS": "1"})
    try:
        _await_ready(process, port, folder / "log.txt")
        yield Prometheus(port)
    finally:
        process.kill()
        process.wait()


def _await_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    message = f"prometheus did not start: {log.read_text()[-2000:]}"
    raise AssertionError(message)
