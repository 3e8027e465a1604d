"""Ranks' lines on the pod's own output."""

import os
from pathlib import Path

from pipeline.node.pod.logs import LogEcho


def test_echo_copies_whole_lines_of_each_rank_and_the_rest_at_the_end(tmp_path: Path) -> None:
    logs = {0: tmp_path / "rank-0.log", 3: tmp_path / "rank-3.log"}
    logs[3].write_text("said by an earlier start\n")
    out = tmp_path / "out"
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT)
    echo = LogEcho(logs, descriptor)
    echo.turn()
    with logs[0].open("w") as first, logs[3].open("a") as second:
        first.write("one\ntw")
        second.write("three\n")
        first.flush()
        second.flush()
        echo.turn()
        assert out.read_text() == "[rank 0] one\n[rank 3] three\n"
        first.write("o")
    echo.finish()
    os.close(descriptor)
    assert out.read_text() == "[rank 0] one\n[rank 3] three\n[rank 0] two\n"


def test_echo_to_nobody_goes_on(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    log = tmp_path / "rank-0.log"
    echo = LogEcho({0: log}, write)
    log.write_text("x\n")
    echo.finish()
    os.close(write)
