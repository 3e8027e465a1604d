"""Where the ranks of one attempt meet, and the environment that tells them."""

import fcntl
import socket
import struct
from dataclasses import dataclass

from pipeline.spec.attempt import SHARE_VARIABLE, share_name
from pipeline.spec.context import World
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915
"""Asks for an interface's address; netdevice(7)."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Meeting:
    """Address and port of rank 0's store; the port is new with every attempt.

    Ranks that met at the port of a dead attempt would read the dead ranks' addresses there.
    """

    address: str
    port: int
    interface: str = ""
    """What gloo shall use; "" leaves it to ask the DNS for this host's own name."""


def world_of(job: Job, node: int, local_rank: int) -> World:
    """A process among all of its attempt's."""
    return World(
        rank=node * job.processes_per_node + local_rank,
        size=job.world_size,
        local_rank=local_rank,
        local_size=job.processes_per_node,
        node=node,
    )


def rank_environment(
    job: Job, world: World, meeting: Meeting, devices: str | None
) -> dict[str, str]:
    """What a worker's environment gets on top of its agent's.

    Args:
        job: the attempt.
        world: the process.
        meeting: only a gang needs it; other processes are told of no world at all, so that no
            library takes them for ranks.
        devices: the node's share of the machine's GPUs as CUDA_VISIBLE_DEVICES wants them; None
            leaves what the agent sees.
    """
    variables = dict.fromkeys(_THREAD_VARIABLES, str(job.cpus_per_process))
    variables[SHARE_VARIABLE] = share_name(job.attempt_id, world.node)
    if job.gpus_per_node == 0:
        variables["CUDA_VISIBLE_DEVICES"] = ""
        variables["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed warns that it found no accelerator
    elif devices is not None:
        variables["CUDA_VISIBLE_DEVICES"] = devices
    if job.launch is Launch.GANG:
        variables |= {
            "RANK": str(world.rank),
            "WORLD_SIZE": str(world.size),
            "LOCAL_RANK": str(world.local_rank),
            "LOCAL_WORLD_SIZE": str(world.local_size),
            "MASTER_ADDR": meeting.address,
            "MASTER_PORT": str(meeting.port),
        }
        interface = meeting.interface
        if not interface and meeting.address == LOOPBACK:
            interface = _loopback_interface()
        if interface:
            variables["GLOO_SOCKET_IFNAME"] = interface
    return variables


def interface_of(address: str) -> str:
    """The network interface that has an IPv4 address; "" where none has, or it cannot be told."""
    if address.startswith("127."):
        return _loopback_interface()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue  # one without an IPv4 address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""


def _loopback_interface() -> str:
    """What gloo shall use on one machine; left alone it asks for the host's name in the DNS."""
    names = {name for _, name in socket.if_nameindex()}
    return "lo" if "lo" in names else "lo0"
