"""How the pods of a gang come together before their ranks start."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.node.pod.peers import Hub, Spoke, connect
from pipeline.node.pod.place import Place
from pipeline.node.rendezvous import LOOPBACK, Meeting, interface_of
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch

Peers = Hub | Spoke
Wait = Callable[[str], None]
"""Pauses, saying what for; raises when the pod is asked to go."""


@dataclass(frozen=True)
class Gathered:
    """Everyone is there.

    Attributes:
        peers: the other nodes' agents; None where there are none.
        meeting: where ranks find rank 0.
        reserved: keeps the meeting's port from others as long as it is open.
    """

    peers: Peers | None
    meeting: Meeting
    reserved: socket.socket | None = None

    def close(self) -> None:
        """Gives the port back."""
        if self.reserved is not None:
            self.reserved.close()


def gather(job: Job, place: Place, wait: Wait) -> Gathered:
    """Waits for the pods of all nodes, of this very start of the attempt.

    The port is new for each start, and pods have addresses of their own: ranks of an earlier one
    cannot be met.

    Raises:
        OSError: a port is taken.
        Preempted: `wait` was asked to go.
    """
    own = place.pod_ip or LOOPBACK
    if job.launch is not Launch.GANG:
        return Gathered(None, Meeting(own, 0))
    if place.node > 0:
        spoke = _join(place, wait)
        assert spoke.port is not None  # that is what _join waits for
        return Gathered(spoke, Meeting(spoke.hub_address, spoke.port, interface_of(own)))
    reserved = _reserve_port(own)
    meeting = Meeting(own, reserved.getsockname()[1], interface_of(own))
    if job.nodes == 1:
        return Gathered(None, meeting, reserved)
    hub = Hub(job.nodes, place.job_uid, host=own, port=place.hub_port)
    while hub.absent:
        wait(f"waiting for the pods of nodes {', '.join(map(str, hub.absent))}")
        hub.turn()
    hub.start(meeting.port)
    return Gathered(hub, meeting, reserved)


def _join(place: Place, wait: Wait) -> Spoke:
    while True:
        line = connect(place.address, place.hub_port)
        if line is None:
            wait(f"waiting for the pod of node 0, {place.address}")
            continue
        spoke = Spoke(place.node, place.job_uid, line)
        # It hangs up on whoever is of another start: the name may still lead to an old pod.
        while not spoke.is_gone:
            if spoke.port is not None:
                return spoke
            wait("waiting for the pods of the other nodes")
            spoke.turn()
        spoke.close()


def _reserve_port(address: str) -> socket.socket:
    """Bound, not listening: rank 0 may listen there, and nobody else gets it."""
    reserved = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((address, 0))
    return reserved
