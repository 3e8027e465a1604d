"""Who decides how a gang ended, over real sockets between two ends of one process."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.executors.local.machine import reserve_port
from pipeline.node.pod.peers import Hub, Line, Spoke, connect, decide
from pipeline.spec.attempt import NodeExit

UID = "uid-1"


def _end(code: int, *, rank: int | None = 0, at: float = 100.0) -> NodeExit:
    return NodeExit(code, rank, None, f"exit {code}", [], at)


@dataclass
class Gang:
    hub: Hub
    spokes: list[Spoke]
    port: int

    def turn(self) -> list[list[str]]:
        """What each node is told, node 0 first."""
        time.sleep(0.02)
        told: list[list[str]] = [list(self.hub.turn())]
        time.sleep(0.02)
        for spoke in self.spokes:
            told.append(list(spoke.turn()))
        return told


def _line(port: int) -> Line:
    line = connect("127.0.0.1", port)
    assert line is not None
    return line


@pytest.fixture
def gang() -> Iterator[Gang]:
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
    hub = Hub(3, UID, host="127.0.0.1", port=port)
    gang = Gang(hub, [], port)
    for node in (1, 2):
        gang.spokes.append(Spoke(node, UID, _line(port)))
        gang.turn()
    hub.start(4711)
    gang.turn()
    yield gang
    hub.close()
    for spoke in gang.spokes:
        spoke.close()


def test_decide_takes_what_is_never_retried_before_what_came_first() -> None:
    ends = {0: _end(1, at=1.0), 1: _end(65, rank=3, at=2.0), 2: _end(0, rank=None, at=0.0)}
    assert decide(ends) == ends[1]


def test_decide_takes_the_first_failure() -> None:
    ends = {0: _end(134, at=2.0), 1: _end(137, rank=3, at=1.0)}
    assert decide(ends) == ends[1]


def test_hub_waits_for_every_node_and_tells_the_port(gang: Gang) -> None:
    assert gang.hub.absent == []
    assert [spoke.port for spoke in gang.spokes] == [4711, 4711]


@pytest.mark.parametrize(("node", "uid"), [(1, "uid-0"), (7, UID), (0, UID)])
def test_hub_turns_strangers_away(gang: Gang, node: int, uid: str) -> None:
    stranger = Spoke(node, uid, _line(gang.port))
    gang.turn()
    gang.turn()
    stranger.turn()
    assert stranger.is_gone
    stranger.close()


def test_hub_drops_who_talks_nonsense_and_goes_on(gang: Gang) -> None:
    line = _line(gang.port)
    line.send(hello=[1], uid=UID)
    gang.turn()
    assert line.receive() is None
    line.close()
    assert gang.hub.absent == []


def test_failure_of_one_node_ends_all_with_the_same_words(gang: Gang) -> None:
    first = _end(65, rank=1, at=50.0)
    gang.spokes[0].ended(first)
    told = gang.turn()
    assert told[0] == ["peer failed"]
    assert told[2] == ["peer failed"]
    gang.hub.ended(_end(1, at=51.0))
    gang.spokes[1].ended(_end(1, rank=2, at=51.0))
    gang.turn()
    assert gang.hub.verdict() == first
    gang.turn()
    assert [spoke.verdict() for spoke in gang.spokes] == [first, first]


def test_preempted_node_has_the_others_save_too(gang: Gang) -> None:
    gang.spokes[1].ended(_end(75, rank=2))
    told = gang.turn()
    assert (told[0], told[1]) == (["stop"], ["stop"])


def test_node_that_vanishes_is_told_of_and_the_others_end_for_free(gang: Gang) -> None:
    gang.spokes[0].close()
    told = gang.turn()
    assert told[0] == ["peer failed"]
    assert told[2] == ["peer failed"]
    gang.hub.ended(_end(1, at=time.time()))
    assert gang.hub.verdict() is None  # the cluster may yet say why the pod went
    gang.spokes = gang.spokes[1:]
    gang.spokes[0].ended(_end(1, rank=2, at=time.time()))
    gang.turn()
    verdict = gang.hub.verdict()
    assert verdict is not None
    assert (verdict.exit_code, verdict.cause) == (
        75,
        "the pod of node 1 is gone without a word",
    )


def test_node_0_that_succeeds_leaves_without_alarm(gang: Gang) -> None:
    gang.hub.ended(_end(0, rank=None))
    gang.hub.close()
    time.sleep(0.05)
    assert [spoke.turn() for spoke in gang.spokes] == [[], []]
    gang.spokes[0].ended(_end(0, rank=None))
    assert gang.spokes[0].verdict() == _end(0, rank=None)
