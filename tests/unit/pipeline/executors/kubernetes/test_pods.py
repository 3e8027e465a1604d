"""What a pod's status says of its end."""

import json
from typing import Any

import pytest

from pipeline.executors.kubernetes.pods import PodEnd, trim_pod, view_pod
from tests.kubernetes.objects import T0, disrupted, pod, terminated


def end_of(item: dict[str, Any]) -> PodEnd:
    end = view_pod(trim_pod(item)).end
    assert end is not None
    return end


def node_exit(**more: Any) -> str:
    fields = {
        "exit_code": 1,
        "rank": 3,
        "signal": None,
        "cause": "rank 3: ValueError: no",
        "log_tail": ["a", "b"],
        "time": T0 + 7.5,
    }
    return json.dumps(fields | more)


def test_trimmed_pod_reads_as_the_whole_one() -> None:
    item = pod(2, restart=1, phase="Failed", state=terminated(1, 9), deleted_at=3)
    assert view_pod(trim_pod(item)) == view_pod(item)
    assert "managedFields" not in json.dumps(trim_pod(item))


def test_agent_that_tells_its_end_is_believed() -> None:
    end = end_of(pod(phase="Failed", state=terminated(1, 9, node_exit())))
    assert (end.exit_code, end.rank, end.time) == (1, 3, T0 + 7.5)
    assert end.cause == "rank 3: ValueError: no"
    assert not end.lost


def test_rank_killed_by_a_signal_shows_its_last_lines() -> None:
    told = node_exit(exit_code=137, signal="SIGKILL", cause="rank 3 was killed by SIGKILL")
    end = end_of(pod(phase="Failed", state=terminated(137, 9, told)))
    assert end.cause == "rank 3 was killed by SIGKILL; last lines: a | b"


def test_container_out_of_memory_says_so_and_what_to_do() -> None:
    end = end_of(pod(phase="Failed", state=terminated(137, 9, reason="OOMKilled")))
    assert end.what.startswith("OOMKilled")
    assert "resources.memory" in end.advice
    assert (end.exit_code, end.lost) == (137, False)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("EvictionByEvictionAPI", "drained"),
        ("PreemptionByScheduler", "preempted"),
        ("DeletionByTaintManager", "taint"),
        ("DeletionByPodGC", "gone"),
        ("TerminationByKubelet", "evicted by its node"),
    ],
)
def test_disrupted_pod_is_no_fault_of_its_own(reason: str, words: str) -> None:
    condition = disrupted(reason, "as told")
    end = end_of(pod(phase="Failed", state=terminated(143, 9), conditions=[condition]))
    assert end.lost
    assert words in end.what
    assert "as told" in end.what


def test_pod_over_its_own_disk_limit_is_its_fault() -> None:
    # A node under pressure sets DisruptionTarget; a pod over its own limit gets no condition.
    end = end_of(
        pod(phase="Failed", state=terminated(137, 9), reason="Evicted", message="over 1Gi of disk")
    )
    assert not end.lost
    assert "over 1Gi of disk" in end.what
    assert "resources.disk" in end.advice


def test_pod_turned_away_by_its_node_is_lost_though_no_container_ever_ran() -> None:
    item = pod(phase="Failed", state={}, reason="OutOfcpu", message="no room")
    end = end_of(item)
    assert (end.exit_code, end.lost) == (137, True)
    assert "OutOfcpu" in end.what


def test_last_lines_stand_in_where_the_agent_could_not_tell() -> None:
    end = end_of(pod(phase="Failed", state=terminated(1, 9, "Traceback\nValueError: x\n")))
    assert end.cause == "Traceback | ValueError: x"


def test_running_pod_has_no_end_and_knows_when_it_was_asked_to() -> None:
    view = view_pod(pod(deleted_at=5, grace=120))
    assert view.end is None
    assert view.is_running
    assert view.asked_to_end == T0 + 5


def test_pod_of_a_jobset_belongs_to_the_jobset_and_to_its_start() -> None:
    view = view_pod(pod(1, owner="train-a1", restart=2))
    assert (view.owner, view.index, view.restart) == ("train-a1", 1, 2)
