"""`pipeline report --serve`: a live run in a browser, and who may ask."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chromium import Browser
from tests.integration.report.conftest import Shown

SLOW = """\
name: live
stages:
  slow:
    uses: command
    with:
      argv: [sh, -c, 'while [ ! -e "$1" ]; do sleep 0.05; done; echo x > "$0/x"', '{outputs.o}', GATE]
      outputs: {o: folder}
"""
PIPELINE = "from pipeline.cli.main import main; main()"


@contextmanager
def _started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PIPELINE, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.match(r"http://(127\.0\.0\.1):(\d+)/  \(Ctrl-C ends\)", line)
    assert match, line + process.stdout.read()
    return match[1], int(match[2])


def _get(address: tuple[str, int], path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_served_page_follows_the_run_to_its_end_without_a_reload(
    tmp_path: Path, browser: Browser
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "dag.yaml").write_text(SLOW.replace("GATE", str(gate)))
    with _started(tmp_path, "run", "dag.yaml") as run:
        assert run.stdout is not None
        while "slow: started" not in run.stdout.readline():
            assert run.poll() is None
        with _started(tmp_path, "report", "--serve") as server:
            host, port = _address(server)
            browser.complaints()
            browser.resize(1280, 900)
            browser.open(f"http://{host}:{port}/")
            state = "return document.querySelector('.headline .status').textContent"
            assert browser.run(state) == "running"
            browser.run(
                "window.sameDocument = true; document.querySelector('#environment details').open = true"
            )
            gate.touch()
            browser.wait(f"{state} === 'succeeded'")
            browser.wait("return document.querySelector('.live').textContent === 'ended'")
            assert browser.run("return document.querySelector('.box').dataset.status") == "done"
            assert browser.run("return window.sameDocument")
            assert browser.run("return document.querySelector('#environment details').open")
            asked = {
                url.partition(str(port))[2] for url in browser.requests(f"http://{host}:{port}/")
            }
            assert {"/", "/state", "/part/graph"} <= asked
            assert browser.complaints() == []
            os.kill(server.pid, signal.SIGINT)
            assert server.wait(30) == 4


def test_server_answers_this_machine_alone(shown: Shown) -> None:
    with _started(shown.folder, "report", "--serve") as server:
        address = _address(server)
        assert _get(address, "/")[0] == 200
        assert _get(address, "/part/graph")[0] == 200
        assert _get(address, "/part/..%2f..%2fetc%2fpasswd")[0] == 404
        assert _get(address, "/", Host="evil.example:80") == (
            403,
            "ask for 127.0.0.1 or localhost\n",
        )
        assert _get(address, "/", Host="localhost")[0] == 200
        port_taken = shown.pipeline("report", "--serve", "--port", str(address[1]))
        assert port_taken.code == 2
        assert "--port" in port_taken.err
