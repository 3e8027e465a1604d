"""What this machine has: processors, memory and GPUs that the runner may hand out. No torch."""

import math
import os
import signal
import socket
from collections.abc import Collection
from pathlib import Path

from pipeline.executors.base import Capacity
from pipeline.spec.attempt import share_of
from pipeline.spec.gpus import installed_gpus

_CGROUP = Path("/sys/fs/cgroup")


def machine_capacity() -> Capacity:
    """This process's share of the machine: affinity, container limits, CUDA_VISIBLE_DEVICES."""
    return Capacity(cpus=_cpus(), memory_bytes=_memory_bytes(), gpus=len(gpu_names()))


def gpu_names() -> list[str]:
    """What CUDA_VISIBLE_DEVICES would call each usable GPU: an index, or what it says already."""
    # The one variable the user has for keeping GPUs to himself.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(index) for index in range(len(installed_gpus()))]


def reserve_port() -> socket.socket:
    """A socket bound to a free port of the loopback that nobody else gets while it is open.

    It does not listen, and both sides allow reuse, so rank 0 may bind the port and listen there.

    Raises:
        OSError: no port is free.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def end_shares(names: Collection[str]) -> None:
    """Kills what shares of attempts have left behind; for when their agent can do so no more."""
    for path in Path("/proc").glob("[0-9]*"):
        if names and share_of(int(path.name)) in names:
            try:
                os.kill(int(path.name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def _cpus() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _cgroup_value("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return min(usable or 1, max(1, math.ceil(int(quota) / int(period))))
    return usable or 1


def _memory_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup_value("memory.max")
    return min(physical, int(limit)) if limit.isdigit() else physical


def _cgroup_value(name: str) -> str:
    """A limit of the cgroup that a container sees as its root; "" where there is none."""
    try:
        return (_CGROUP / name).read_text().strip()
    except OSError:
        return ""
