"""Whole runs on a simulated cluster: the real runner, the real client, pods that really run."""

import signal

import pytest

from pipeline.runner.state import StageStatus
from tests.integration.kubernetes.conftest import Shell

GANG = {"uses": "./toys.py:GANG", "with": {"units": 40, "pause_ms": 60}, "resources": {"nodes": 2}}


def test_dag_of_workers_process_and_gang_runs_and_is_reused(shell: Shell) -> None:
    shell.write_dag(
        {
            "raw": {"uses": "./toys.py:UNITS", "with": {"units": 6}, "resources": {"workers": 2}},
            "train": {"uses": "./toys.py:STEPS", "inputs": {"in": ["raw.out"]}},
            "gang": {
                "uses": "./toys.py:GANG",
                "inputs": {"in": ["train.out"]},
                "with": {"units": 4},
                "resources": {"nodes": 2},
            },
        }
    )
    state = shell.finish(shell.run())
    assert state.counts() == {"done": 3}
    assert shell.cluster.server.most_watching == {"pods": 1, "jobs": 1, "jobsets": 1, "events": 1}
    place = ("--store", str(shell.folder / "store"))
    assert "committed out as" in shell.say("logs", state.run, "gang", "--all-ranks", *place)
    assert "gang: done in" in shell.say("attach", state.run, *place)


def test_runner_killed_and_resumed_takes_up_the_gang_that_went_on(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    first = shell.run()
    shell.wait_for(lambda: shell.checkpoints() >= 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    pods = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in shell.cluster.pods()}
    for name in pods.values():
        shell.cluster.kill(name, signal.SIGSTOP)  # it must not be done before the second comes
    assert "it goes on" in shell.say("status", "--store", str(shell.folder / "store"))
    second = shell.start("resume", "--store", str(shell.folder / "store"))
    shell.wait_for(lambda: "taken up" in shell.log())
    for name in pods.values():
        shell.cluster.kill(name, signal.SIGCONT)
    state = shell.finish(second)
    assert {pod["metadata"]["uid"] for pod in shell.cluster.pods()} == pods.keys()
    (attempt,) = state.stages["gang"].attempts
    assert (attempt.session, attempt.exit_code) == (2, 0)


def test_pod_deleted_restarts_the_gang_from_its_checkpoint_and_says_why(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    command = shell.run()
    shell.wait_for(lambda: shell.checkpoints() >= 2 and shell.rank_has_begun(1))
    victim = next(
        p["metadata"]["name"] for p in shell.cluster.pods() if "-1-" in p["metadata"]["name"]
    )
    shell.cluster.delete(victim)
    state = shell.finish(command)
    first, second = state.stages["gang"].attempts
    assert (first.exit_class, second.exit_class) == ("free", "done"), first
    assert first.step is not None
    assert first.step >= 8
    assert victim in first.cause
    assert first.attempt_id == second.attempt_id, "the cluster restarted it, not the runner"


def test_image_that_does_not_exist_fails_with_what_to_do(shell: Shell) -> None:
    shell.write_dag({"gang": GANG}, image="pipeline:absent")
    state = shell.finish(shell.run(), code=1)
    failure = state.stages["gang"].failure
    assert failure is not None
    assert failure.exit_code == 78
    assert "ImagePullBackOff" in failure.cause
    assert "pipeline:absent" in failure.cause
    assert failure.advice.startswith("Set cluster.image")
    assert not shell.cluster.server.all("jobsets")


def test_cancel_saves_first(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    command = shell.run()
    shell.wait_for(lambda: shell.checkpoints() >= 1)
    command.send_signal(signal.SIGINT)
    state = shell.finish(command, code=4)
    assert state.stages["gang"].status is StageStatus.CANCELLED
    saved = state.stages["gang"].attempts[-1].step
    assert saved is not None
    assert state.stages["gang"].attempts[-1].exit_code == 75
    assert not shell.cluster.pods()


@pytest.mark.slow
def test_cancel_without_a_runner_stops_what_it_left(shell: Shell) -> None:
    shell.write_dag({"gang": GANG | {"with": {"units": 400, "pause_ms": 200}}})
    first = shell.run()
    shell.wait_for(lambda: shell.checkpoints() >= 1 and shell.rank_has_begun(1))
    first.send_signal(signal.SIGKILL)
    first.wait()
    said = shell.say("cancel", "--store", str(shell.folder / "store"))
    assert "has no runner; asked to stop after a checkpoint: kube-test-gang" in said
    shell.wait_for(lambda: not shell.cluster.pods())
    assert not shell.cluster.server.all("jobsets")
