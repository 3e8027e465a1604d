"""How things go wrong on a cluster, and what the user is told: as its pods really end."""

import pytest

from pipeline.runner.state import StageStatus
from tests.integration.kubernetes.conftest import Shell
from tests.kubernetes.objects import disrupted

GANG = {"uses": "./toys.py:GANG", "with": {"units": 60, "pause_ms": 60}, "resources": {"nodes": 2}}


def _begun(shell: Shell) -> bool:
    return shell.checkpoints() >= 1 and shell.rank_has_begun(1)


@pytest.mark.slow
def test_pod_out_of_memory_is_restarted_counted_and_named(shell: Shell) -> None:
    shell.write_dag({"gang": GANG | {"retry": {"max_attempts": 2}}})
    command = shell.run()
    shell.wait_for(lambda: _begun(shell))
    victim = next(p["metadata"]["name"] for p in shell.cluster.pods(stage="gang"))
    shell.cluster.doom(victim, container_reason="OOMKilled")
    state = shell.finish(command)
    first, second = state.stages["gang"].attempts
    assert (first.exit_class, second.exit_class) == ("counted", "done"), first
    assert "OOMKilled" in first.cause


@pytest.mark.slow
def test_drained_node_costs_no_attempt(shell: Shell) -> None:
    shell.write_dag({"gang": GANG | {"retry": {"max_attempts": 1}}})
    command = shell.run()
    shell.wait_for(lambda: _begun(shell))
    victim = next(p["metadata"]["name"] for p in shell.cluster.pods(stage="gang"))
    shell.cluster.doom(victim, conditions=[disrupted("EvictionByEvictionAPI", "drain")])
    state = shell.finish(command)
    first, second = state.stages["gang"].attempts
    assert (first.exit_class, second.exit_class) == ("free", "done"), first
    assert "drained" in first.cause


@pytest.mark.slow
def test_gang_of_a_cluster_without_jobset_is_made_again_by_the_runner(shell: Shell) -> None:
    shell.write_dag({"gang": GANG}, gang="job")
    shell.cluster.server.missing.add("jobset.x-k8s.io")
    command = shell.run()
    shell.wait_for(lambda: _begun(shell))
    shell.cluster.delete(next(p["metadata"]["name"] for p in shell.cluster.pods(stage="gang")))
    state = shell.finish(command)
    first, second = state.stages["gang"].attempts
    assert (first.exit_class, second.exit_class) == ("free", "done"), first
    assert first.attempt_id != second.attempt_id
    assert shell.cluster.server.requests["PATCH services"] == 2


@pytest.mark.slow
def test_elastic_gang_starts_with_the_nodes_there_are(shell: Shell) -> None:
    shell.cluster.nodes = {"worker-1": 1, "worker-2": 1}
    shell.write_dag(
        {"gang": GANG | {"resources": {"nodes": {"min": 2, "max": 3}}}}, node_wait_seconds=1
    )
    state = shell.finish(shell.run())
    first, second = state.stages["gang"].attempts
    assert "2 of 3 nodes are there" in first.cause
    assert (first.num_processes, second.num_processes) == (3, 2)


@pytest.mark.slow
def test_queued_stage_shows_as_waiting_and_can_be_cancelled(shell: Shell) -> None:
    shell.cluster.queue_is_full = True
    shell.write_dag({"gang": GANG}, queue="research")
    command = shell.run()
    shell.wait_for(lambda: "queued" in shell.log())
    assert shell.state().stages["gang"].status is StageStatus.WAITING
    shell.say("cancel", "--store", str(shell.folder / "store"))
    assert shell.finish(command, code=4).stages["gang"].status is StageStatus.CANCELLED


def test_store_that_this_machine_does_not_see_says_what_to_do(shell: Shell) -> None:
    here = {"host_path": str(shell.folder), "mount": str(shell.folder)}
    far = {"claim": "c", "mount": "/not-here"}
    shell.write_dag({"gang": GANG}, volumes={"all": here, "far": far})
    said = shell.say("run", "dag.yaml", "--profile", "cluster", "--store", "file:///not-here/x")
    assert "--detach" in said
    assert "does not see" in said


def test_doctor_names_the_fix(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    shell.cluster.server.missing.add("jobset.x-k8s.io")
    said = shell.say("doctor", "dag.yaml", "--profile", "cluster", "--on", "kubernetes")
    assert "BAD  JobSet" in said
    assert "cluster.gang: job" in said
