"""Who a process is, so that another one can tell whether it is still there."""

import os
import socket
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_DEAD_STATES = frozenset("ZX")
"""Zombie and dead: the process runs no more, whether or not its parent has noticed."""


class Holder(BaseModel):
    """A process on a machine.

    Attributes:
        host: for people; hosts of one name are not taken for one machine.
        boot_id: differs between machines and between boots; "" where the system has none.
        pid_namespace: containers of one machine count processes apart.
        pid: process id within the namespace.
        start_time: clock ticks after boot; tells the process from a later one of the same id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_time: int

    def is_known_dead(self) -> bool:
        """True when this process can see that the holder is gone; False also means "unknown"."""
        here = _machine()
        if not self.boot_id or (self.boot_id, self.pid_namespace) != here[1:]:
            return False
        return _start_time(self.pid) != self.start_time


def this_process() -> Holder:
    """The calling process."""
    host, boot_id, namespace = _machine()
    pid = os.getpid()
    return Holder(
        host=host,
        boot_id=boot_id,
        pid_namespace=namespace,
        pid=pid,
        start_time=_start_time(pid) or 0,
    )


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str, str]:
    """(host, boot id, PID namespace); the last two are "" on systems without /proc."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - Path.readlink gives a Path, this is a name
    except OSError:
        boot_id = namespace = ""
    return socket.gethostname(), boot_id, namespace


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None when no such process runs. Source: proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in _DEAD_STATES else int(fields[19])
