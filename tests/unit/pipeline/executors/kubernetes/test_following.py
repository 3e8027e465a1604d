"""What is told of an attempt, and when: from its workload, its pods, and time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pytest

from pipeline.executors.base import AttemptEnd
from pipeline.executors.kubernetes.following import (
    Attempt,
    EndIt,
    Hasten,
    Patience,
    Sayings,
    Step,
    Tell,
)
from pipeline.executors.kubernetes.pods import view_pod
from pipeline.executors.kubernetes.resources import JOB, JOBSET
from pipeline.executors.kubernetes.states import trim_workload, view_workload
from pipeline.spec.attempt import NodeExit
from pipeline.spec.job import Job
from pipeline.spec.resources import Resources
from tests.jobs import job_of
from tests.kubernetes.objects import T0, disrupted, pod, terminated, true, workload

SILENT = Sayings({}, {})


def gang(**more: Any) -> Job:
    return job_of(launch="gang", nodes=2, attempt_id="attempt", **more)


def process(**more: Any) -> Job:
    return job_of(launch="process", attempt_id="attempt", **more)


def look(
    attempt: Attempt,
    pods: Sequence[dict[str, Any]] = (),
    *,
    at: float = 100.0,
    sayings: Sayings = SILENT,
    gone: bool = False,
    **status: Any,
) -> list[Step]:
    for item in pods:
        view = view_pod(item)
        attempt.pods[view.name] = view
    item = workload(**status)
    seen = None if gone else view_workload(trim_workload(item))
    return attempt.look(seen, sayings, T0 + at)


def attempt_of(job: Job, **more: Any) -> Attempt:
    resource = JOBSET if job.launch == "gang" else JOB
    return Attempt(job, resource, "train-a1", submitted=T0, **more)


def told(steps: Sequence[Step]) -> AttemptEnd:
    (step,) = steps
    assert isinstance(step, Tell)
    return step.end


FAILED: Mapping[str, Any] = {"conditions": [true("Failed", "FailJobSet", "why")]}


def test_completed_jobset_is_done() -> None:
    end = told(look(attempt_of(gang()), [pod(phase="Succeeded")], terminalState="Completed"))
    assert (end.exit_code, end.restarts) == (0, None)


def test_failed_gang_tells_the_rank_that_failed_first() -> None:
    pods = [
        pod(0, restart=0, phase="Failed", state=terminated(1, 50, "ConnectionError: closed")),
        pod(1, restart=0, phase="Failed", state=terminated(139, 49), node="worker-2"),
    ]
    end = told(look(attempt_of(gang()), pods, **FAILED))
    assert (end.exit_code, end.rank, end.lost_node) == (139, 1, False)
    assert "worker-2" in end.cause


def test_failed_gang_whose_pod_was_taken_is_not_counted_whoever_told_first() -> None:
    pods = [
        pod(0, restart=0, phase="Failed", state=terminated(1, 50, "ConnectionError: closed")),
        pod(
            1,
            restart=0,
            phase="Failed",
            node="worker-2",
            state=terminated(143, 60),
            conditions=[disrupted("EvictionByEvictionAPI")],
        ),
    ]
    end = told(look(attempt_of(gang()), pods, **FAILED))
    assert end.lost_node
    assert "drained" in end.cause
    assert "worker-2" in end.cause


def test_pod_deleted_by_hand_is_the_cause_but_peers_deleted_after_the_failure_are_not() -> None:
    crashed = pod(0, restart=0, phase="Failed", state=terminated(1, 50))
    before = pod(1, restart=0, phase="Failed", state=terminated(75, 55), deleted_at=40)
    after = pod(1, restart=0, phase="Failed", state=terminated(143, 55), deleted_at=52)
    by_hand = told(look(attempt_of(gang()), [crashed, before], **FAILED))
    assert by_hand.lost_node
    assert "the pod was deleted" in by_hand.cause
    by_job = told(look(attempt_of(gang()), [crashed, after], **FAILED))
    assert (by_job.lost_node, by_job.rank) == (False, 0)


@pytest.mark.parametrize("can_tell", [True, False])
def test_rank_out_of_memory_is_the_cause_though_its_peer_told_of_a_lost_node_first(
    can_tell: bool,
) -> None:
    witness = NodeExit(
        75, None, None, "the pod of node 1 is gone without a word", [], T0 + 49, is_witness=True
    )
    says = terminated(75, 58, json.dumps(asdict(witness)))
    pods = [
        pod(0, restart=0, phase="Failed", state=says, deleted_at=53)
        if can_tell
        else pod(0, restart=0, deleted_at=53, gone=True),
        pod(1, restart=0, phase="Failed", state=terminated(137, 50, reason="OOMKilled")),
    ]
    end = told(look(attempt_of(gang()), pods, **FAILED))
    assert (end.exit_code, end.lost_node) == (137, False)
    assert "OOMKilled" in end.cause


def test_lost_node_is_told_as_its_peers_saw_it_where_nothing_says_why() -> None:
    witness = NodeExit(75, None, None, "node 1 is gone", [], T0 + 49, is_witness=True)
    says = terminated(75, 58, json.dumps(asdict(witness)))
    alone = pod(0, restart=0, phase="Failed", state=says, deleted_at=53)
    end = told(look(attempt_of(gang()), [alone], **FAILED))
    assert end.exit_code == 75
    assert "node 1 is gone" in end.cause
    assert "state saved" not in end.cause


def test_exit_that_is_never_retried_wins_over_what_it_caused() -> None:
    pods = [
        pod(0, restart=0, phase="Failed", state=terminated(1, 50)),
        pod(1, restart=0, phase="Failed", state=terminated(70, 51)),
    ]
    assert told(look(attempt_of(gang()), pods, **FAILED)).exit_code == 70


def test_failed_gang_is_told_only_once_all_pods_have_ended() -> None:
    attempt = attempt_of(gang())
    crashed = pod(0, restart=0, phase="Failed", state=terminated(1, 50))
    steps = look(attempt, [crashed, pod(1, restart=0)], **FAILED)
    assert steps == [Hasten((pod(1, restart=0)["metadata"]["name"],))]
    assert look(attempt, [], **FAILED) == []
    ended = pod(1, restart=0, phase="Failed", state=terminated(143, 60))
    assert told(look(attempt, [ended], **FAILED)).exit_code == 1


def test_gang_that_was_preempted_keeps_its_time_to_save() -> None:
    pods = [pod(0, restart=0, phase="Failed", state=terminated(75, 50)), pod(1, restart=0)]
    assert look(attempt_of(gang()), pods, **FAILED) == []


def test_pod_on_a_dead_node_is_not_waited_for_for_ever() -> None:
    attempt = attempt_of(gang())
    crashed = pod(0, restart=0, phase="Failed", state=terminated(1, 50))
    stuck = pod(1, restart=0, deleted_at=60, grace=100)
    attempt._hastened = 0
    assert look(attempt, [crashed, stuck], at=219, **FAILED) == []
    assert told(look(attempt, [], at=60 + 100 + 61, **FAILED)).exit_code == 1


def test_pod_that_a_dead_node_keeps_ends_the_attempt_and_the_next_does_without() -> None:
    attempt = attempt_of(gang())
    pods = [pod(0, restart=0), pod(1, restart=0, node="dead", deleted_at=60, grace=100)]
    assert look(attempt, pods, at=219) == []
    (step,) = look(attempt, [], at=221)
    assert isinstance(step, EndIt)
    assert step.end.lost_node
    assert "node dead does not answer" in step.end.cause
    attempt.ending, attempt.is_asked = step.end, True
    ended = pod(0, restart=0, phase="Failed", state=terminated(75, 230), gone=True)
    assert told(look(attempt, [ended], at=231, gone=True)) == step.end


def test_restart_by_the_cluster_is_told_with_the_cause_and_the_attempt_goes_on() -> None:
    attempt = attempt_of(gang())
    pods = [
        pod(0, restart=0, phase="Failed", state=terminated(75, 50), gone=True),
        pod(1, restart=0, phase="Failed", state=terminated(75, 50), deleted_at=40, gone=True),
    ]
    first = told(look(attempt, [*pods, pod(0, restart=1), pod(1, restart=1)], restarts=1))
    assert (first.restarts, first.lost_node) == (1, True)
    assert "state saved" in first.cause
    assert look(attempt, [], restarts=1) == []
    assert told(look(attempt, [], restarts=1, terminalState="Completed")).exit_code == 0


def test_process_pod_that_was_replaced_is_told_and_the_job_goes_on() -> None:
    attempt = attempt_of(process())
    old = pod(0, name="a", phase="Failed", state=terminated(1, 50), created=0)
    assert look(attempt, [old], conditions=[]) == []
    step = told(look(attempt, [pod(0, name="b", created=60)], conditions=[]))
    assert (step.exit_code, step.restarts) == (1, 0)
    assert look(attempt, [], conditions=[]) == []


def test_suspended_workload_waits_with_the_queues_reason() -> None:
    attempt = attempt_of(gang())
    sayings = Sayings({}, {"train-a1": "Pending: insufficient quota for nvidia.com/gpu"})
    assert look(attempt, suspend=True, sayings=sayings, at=1e6) == []
    assert attempt.why == "queued: Pending: insufficient quota for nvidia.com/gpu"


@pytest.mark.parametrize(("message", "seconds"), [("manifest unknown", 31), ("i/o timeout", 181)])
def test_image_that_cannot_be_pulled_ends_the_attempt(message: str, seconds: float) -> None:
    attempt = attempt_of(gang())
    state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    stuck = pod(0, restart=0, phase="Pending", state=state)
    assert look(attempt, [stuck], at=0) == []
    assert "ImagePullBackOff" in attempt.why
    assert look(attempt, [], at=seconds - 2) == []
    (step,) = look(attempt, [], at=seconds)
    assert isinstance(step, EndIt)
    assert (step.end.exit_code, step.end.lost_node) == (78, False)
    assert step.end.advice.startswith("Set cluster.image")


def unschedulable(index: int, message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    return pod(index, restart=0, phase="Pending", node="", state={}, conditions=[condition])


def test_pod_larger_than_any_node_ends_the_attempt_and_one_that_must_wait_does_not() -> None:
    busy = "0/2 nodes are available: 2 Insufficient cpu. preemption: No preemption victims found."
    never = "0/2 nodes are available: 2 Insufficient cpu. preemption: Preemption is not helpful."
    waits = attempt_of(gang())
    assert look(waits, [unschedulable(0, busy)], at=0) == []
    assert look(waits, [], at=1e6) == []
    assert "Insufficient cpu" in waits.why
    hopeless = attempt_of(gang())
    assert look(hopeless, [unschedulable(0, never)], at=0) == []
    assert hopeless.why.endswith("not helpful.; gives up after 300 s")
    (step,) = look(hopeless, [], at=301)
    assert isinstance(step, EndIt)
    assert "Lower the stage's resources" in step.end.advice


def test_elastic_gang_goes_on_with_the_nodes_that_are_there() -> None:
    resources = Resources.model_validate({"nodes": {"min": 2, "max": 4}})
    job = gang(resources=resources).model_copy(update={"nodes": 4})
    attempt = attempt_of(job, patience=Patience(node_seconds=60))
    pods = [pod(n, restart=0) for n in range(3)] + [unschedulable(3, "0/3 nodes are available")]
    assert look(attempt, pods, at=0) == []
    assert look(attempt, [], at=59) == []
    (step,) = look(attempt, [], at=61)
    assert isinstance(step, EndIt)
    assert (step.end.nodes, step.end.lost_node) == (3, True)


def test_elastic_gang_below_its_minimum_waits() -> None:
    resources = Resources.model_validate({"nodes": {"min": 2, "max": 4}})
    job = gang(resources=resources).model_copy(update={"nodes": 4})
    attempt = attempt_of(job, patience=Patience(node_seconds=60))
    pods = [pod(0, restart=0)] + [unschedulable(n, "none") for n in (1, 2, 3)]
    assert look(attempt, pods, at=0) == []
    assert look(attempt, [], at=1e5) == []


def test_workload_deleted_by_somebody_is_lost_and_not_counted() -> None:
    attempt = attempt_of(gang())
    assert look(attempt, [pod(0, restart=0)]) == []
    assert look(attempt, [], gone=True) == [], "its pod still runs"
    ended = pod(0, restart=0, phase="Failed", state=terminated(75, 90), gone=True)
    end = told(look(attempt, [ended], gone=True))
    assert end.lost_node
    assert "was deleted" in end.cause


def test_attempt_that_was_asked_to_stop_ends_as_its_pods_did() -> None:
    attempt = attempt_of(gang(), is_asked=True)
    pods = [pod(n, restart=0, phase="Failed", state=terminated(75, 50)) for n in (0, 1)]
    end = told(look(attempt, pods, gone=True))
    assert (end.exit_code, end.cause) == (75, "asked to stop; state saved")


def test_workload_of_an_earlier_attempt_says_nothing_of_this_one() -> None:
    attempt = attempt_of(gang())
    assert look(attempt, attempt_id="other", terminalState="Completed") == []


def test_workload_that_no_watch_ever_showed_is_taken_for_gone_in_the_end() -> None:
    attempt = attempt_of(gang())
    assert look(attempt, gone=True, at=60) == []
    assert told(look(attempt, gone=True, at=121)).lost_node


def test_failure_whose_pods_are_not_heard_of_yet_is_waited_for() -> None:
    attempt = attempt_of(gang())
    assert look(attempt, [pod(0, restart=0)], restarts=1, at=10) == []
    assert look(attempt, [], restarts=1, at=15) == []
    late = pod(0, restart=0, phase="Failed", state=terminated(137, 9, reason="OOMKilled"))
    end = told(look(attempt, [late, pod(0, restart=1)], restarts=1, at=16))
    assert (end.exit_code, end.lost_node, end.restarts) == (137, False, 1)


def test_failure_of_which_no_pod_tells_is_told_all_the_same() -> None:
    attempt = attempt_of(gang())
    assert look(attempt, [], at=10, **FAILED) == []
    end = told(look(attempt, [], at=21, **FAILED))
    assert end.lost_node
    assert "FailJobSet: why" in end.cause


def test_start_of_a_pod_is_worth_a_word_only_when_it_takes_long() -> None:
    attempt = attempt_of(gang())
    starting = pod(0, restart=0, phase="Pending", state={"waiting": {"reason": "Creating"}})
    warned = Sayings({starting["metadata"]["name"]: "FailedMount: no such claim"}, {})
    assert look(attempt, [starting], at=0, sayings=warned) == []
    assert attempt.why == ""
    assert look(attempt, [], at=16, sayings=warned) == []
    assert "FailedMount: no such claim" in attempt.why
    assert look(attempt, [pod(0, restart=0), pod(1, restart=0)], at=17) == []
    assert attempt.why == ""


def test_pod_that_the_quota_forbids_is_missed_and_the_reason_told() -> None:
    attempt = attempt_of(gang())
    denied = Sayings({"train-a1-node-0": "FailedCreate: exceeded quota: pods"}, {})
    for at in (0, 20):
        assert look(attempt, [pod(0, restart=0)], at=at, sayings=denied) == []
    assert attempt.why == "1 of 2 pods are made: FailedCreate: exceeded quota: pods"


def test_worker_that_failed_is_named_by_its_number() -> None:
    job = job_of(launch="workers", processes_per_node=4, attempt_id="attempt")
    pods = [pod(3, phase="Failed", state=terminated(65, 50))]
    assert told(look(attempt_of(job), pods, **FAILED)).rank == 3
