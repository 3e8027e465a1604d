"""A process that holds a lifeline ends with the one above it, by either mechanism."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BELOW = """
import os, subprocess, sys, time
from pipeline.node import lifeline
{without_kernel}
os.setpgid(0, 0)
child = subprocess.Popen(["sleep", "60"])
if {late}:
    sys.stdin.readline()
lifeline.die_with([int(sys.argv[1])])
print(child.pid, flush=True)
time.sleep(60)
"""
NO_KERNEL = """
def refuse(read_end):
    raise OSError
lifeline._arm = refuse
"""


def _start(read_end: int, *, without_kernel: bool, late: bool = False) -> subprocess.Popen[str]:
    code = BELOW.format(without_kernel=NO_KERNEL if without_kernel else "", late=late)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(read_end)],
        pass_fds=(read_end,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.parametrize("without_kernel", [False, True], ids=["kernel", "thread"])
def test_group_dies_when_the_pipe_closes(without_kernel: bool) -> None:
    read_end, write_end = os.pipe()
    with _start(read_end, without_kernel=without_kernel) as below:
        assert below.stdout is not None
        child = int(below.stdout.readline())
        assert below.poll() is None
        os.close(write_end)
        assert below.wait(5) == -signal.SIGKILL
    os.close(read_end)
    deadline = time.monotonic() + 5
    while _is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("without_kernel", [False, True], ids=["kernel", "thread"])
def test_group_dies_when_the_pipe_closed_before_it_was_watched(without_kernel: bool) -> None:
    read_end, write_end = os.pipe()
    with _start(read_end, without_kernel=without_kernel, late=True) as below:
        os.close(write_end)
        assert below.stdin is not None
        below.stdin.write("\n")
        below.stdin.flush()
        assert below.wait(5) == -signal.SIGKILL
    os.close(read_end)
