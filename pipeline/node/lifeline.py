"""No orphans: how a process learns, whatever it is doing, that one above it is gone.

Every process that starts others keeps the only write end of a pipe. When it ends, by kill -9 too,
the kernel closes that end, and whoever holds a read end knows.
"""

import ctypes
import fcntl
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.spec.attempt import share_of

_F_SETSIG = 10
_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_SECONDS = 5.0
_LIBC = ctypes.CDLL(None)


class Lifeline:
    """The pipe of a process that starts others; they get it by being forked."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()

    def leave_to_parent(self) -> int:
        """In a child, right after the fork: gives up the write end; returns the read end."""
        os.close(self._write_end)
        return self.read_end


def die_with(read_ends: Iterable[int]) -> None:
    """Has this process's whole group killed when any of the pipes closes.

    On Linux the kernel itself sends the SIGKILL: a thread would wait for the interpreter lock as
    long as a rank sits in foreign code that keeps it, for minutes in a tokenizer's training.

    Args:
        read_ends: file descriptors of `Lifeline.read_end`; they stay open in this process.
    """
    ends = list(read_ends)
    try:
        for end in ends:
            _arm(end)
    except OSError:  # a kernel without this; macOS
        threading.Thread(target=_wait_and_die, args=(ends,), daemon=True).start()
        return
    # A pipe that closed before it was armed sent no signal.
    if _closed(ends, timeout_seconds=0):
        end_own_group()


def end_own_group() -> None:
    """Kills this process and its group; does not return."""
    os.killpg(0, signal.SIGKILL)


def _arm(read_end: int) -> None:
    # Owner and signal belong to the open file, and a fork shares it: open the pipe anew.
    own = os.open(f"/proc/self/fd/{read_end}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(own, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)


def _wait_and_die(read_ends: list[int]) -> None:
    _closed(read_ends, timeout_seconds=None)
    end_own_group()


def _closed(read_ends: list[int], *, timeout_seconds: float | None) -> bool:
    poll = select.poll()
    for end in read_ends:
        poll.register(end, select.POLLHUP)
    return bool(poll.poll(None if timeout_seconds is None else timeout_seconds * 1000))


def adopt_orphans() -> None:
    """Descendants whose parent ends become this process's children, not init's.

    So a daemon that a stage's command put in a session of its own is still found by
    `end_children`. Does nothing where the system has no such call.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(spare: Iterable[int] = (), shares: Sequence[str] | None = None) -> None:
    """Kills and reaps children, with what becomes a child meanwhile.

    Gives up after 5 seconds: a process stuck in the kernel (a dead network file system) cannot be
    ended by anyone.

    Args:
        spare: pids that are left alone.
        shares: only children that one of these (see `share_name`) has started; None for all.
    """
    spared = set(spare)
    give_up = time.monotonic() + _SWEEP_SECONDS
    while children := _children() - spared:
        if shares is not None:
            spared |= {pid for pid in children if share_of(pid) not in shares}
            children -= spared
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > give_up:
                    return
                time.sleep(0.001)


def _children() -> set[int]:
    """Pids of the direct children, zombies included; empty where /proc does not tell."""
    try:
        # One thread a caller of this has, so one file tells all.
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except FileNotFoundError:
        return set()
    return {int(pid) for pid in listed.split()}
