"""How attempts end: exit codes, causes, commits. Every process here is a real one."""

import json
from typing import Any

import pytest

from pipeline.errors import InfrastructureError
from pipeline.executors.base import AttemptEnd
from pipeline.executors.local.executor import LocalExecutor
from pipeline.spec.attempt import NodeExit, RankFailure
from pipeline.spec.stage import Launch
from tests.integration.node.attempts import MakeJob, Submit

TWO_NODES: dict[str, Any] = {"launch": Launch.GANG, "nodes": 2, "processes_per_node": 2}


def test_process_that_returns_commits_a_verified_artifact(submit: Submit) -> None:
    attempt = submit("write")
    assert attempt.end() == AttemptEnd(attempt.job.attempt_id, 0, None, "")
    (artifact,) = attempt.artifacts()
    assert (artifact / "files" / "part-0.txt").read_text() == "x"
    exit_record = NodeExit.read(attempt.folder.node_exit(0))
    assert exit_record is not None
    assert exit_record.exit_code == 0


@pytest.mark.parametrize(
    ("do", "code", "cause"),
    [
        ("bad data", 65, "rank 0: DataError: reviews.txt: byte 17 is no UTF-8"),
        ("bug", 1, "rank 0: ZeroDivisionError: division by zero"),
        ("exit", 1, "rank 0: SystemExit: the stage called exit(0)"),
        ("memory", 1, "rank 0: MemoryError: out of memory"),
        ("disk full", 74, "rank 0: OSError: the disk is full: [Errno 28]"),
        ("segfault", 139, "rank 0 was killed by SIGSEGV"),
        ("nothing", 73, "rank 0: OutputError: output port out: the stage wrote no file"),
    ],
)
def test_process_that_fails_says_why(submit: Submit, do: str, code: int, cause: str) -> None:
    attempt = submit(do)
    end = attempt.end()
    assert (end.exit_code, end.rank) == (code, 0)
    assert end.cause.startswith(cause)
    assert attempt.artifacts() == []


def test_failure_record_and_log_hold_the_traceback(submit: Submit) -> None:
    attempt = submit("bug")
    attempt.end()
    failure = RankFailure.read(attempt.folder.failure(0))
    assert failure is not None
    assert 'ctx.recorder.scalar("quotient", 1 / 0, 0)' in failure.traceback
    log = attempt.folder.log(0).read_text()
    assert log.startswith("about to divide\n")
    assert "ZeroDivisionError: division by zero" in log
    exit_record = NodeExit.read(attempt.folder.node_exit(0))
    assert exit_record is not None
    assert exit_record.log_tail == log.splitlines()[-20:]


def test_configuration_the_code_refuses_exits_78(
    executor: LocalExecutor, make_job: MakeJob
) -> None:
    executor.submit(make_job({"do": "write", "wat": 1}))
    (end,) = executor.wait(30)
    assert end.exit_code == 78
    assert "with.wat: Extra inputs are not permitted" in end.cause


def test_input_that_is_not_in_the_store_exits_66(
    executor: LocalExecutor, make_job: MakeJob
) -> None:
    executor.submit(make_job({}, inputs={"shards": "ab" * 32}))
    (end,) = executor.wait(30)
    assert end.exit_code == 66
    assert "abab" in end.cause


def test_gang_of_two_nodes_commits_once_with_every_ranks_files(submit: Submit) -> None:
    attempt = submit("write late", by=3, **TWO_NODES)
    assert attempt.end().exit_code == 0
    (artifact,) = attempt.artifacts()
    names = sorted(path.name for path in (artifact / "files").iterdir())
    assert names == [f"part-{rank}.txt" for rank in range(4)]


def test_gang_ends_with_the_code_of_the_rank_that_failed_first(submit: Submit) -> None:
    attempt = submit("bad data", by=3, otherwise="ignore stop", **TWO_NODES)
    end = attempt.end()
    assert (end.exit_code, end.rank) == (65, 3)
    assert attempt.artifacts() == []


def test_gang_whose_rank_failed_ends_the_rank_that_waits_to_commit(submit: Submit) -> None:
    attempt = submit("bug", by=1, processes_per_node=2, launch=Launch.GANG)
    end = attempt.end(2.5)  # sooner than a rank is killed: rank 0 stopped waiting by itself
    assert (end.exit_code, end.rank) == (1, 1)


def test_workers_leave_parts_and_no_artifact(submit: Submit) -> None:
    attempt = submit("write", launch=Launch.WORKERS, processes_per_node=3)
    assert attempt.end().exit_code == 0
    assert attempt.parts() == ["0.json", "1.json", "2.json"]
    assert attempt.artifacts() == []


def test_worker_that_fails_asks_the_others_to_save_and_stop(submit: Submit) -> None:
    attempt = submit(
        "bad data",
        by=0,
        otherwise="wait for stop",
        launch=Launch.WORKERS,
        processes_per_node=3,
    )
    end = attempt.end()
    assert (end.exit_code, end.rank) == (65, 0)
    assert sorted(path.name for path in attempt.state.glob("saved-*")) == ["saved-1", "saved-2"]


def test_attempt_over_its_time_exits_124_after_saving(submit: Submit) -> None:
    attempt = submit("wait for stop", timeout_seconds=0.5)
    end = attempt.end()
    assert (end.exit_code, end.rank) == (124, None)
    assert end.cause == "not done after timeout_seconds=0.5"
    assert (attempt.state / "saved-0").exists()


def test_ranks_get_environment_and_threads_of_a_gang(submit: Submit) -> None:
    attempt = submit(
        "environment", launch=Launch.GANG, nodes=2, processes_per_node=1, cpus_per_process=3
    )
    assert attempt.end().exit_code == 0
    (artifact,) = attempt.artifacts()
    found = [json.loads((artifact / "files" / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0]["MASTER_PORT"] == found[1]["MASTER_PORT"]
    port = found[0]["MASTER_PORT"]
    assert found[1] == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "threads": "3",
        "loaded": "False",
    }


def test_process_that_is_no_rank_is_told_of_no_world(submit: Submit) -> None:
    attempt = submit("environment")
    assert attempt.end().exit_code == 0
    (artifact,) = attempt.artifacts()
    found = json.loads((artifact / "files" / "0.json").read_text())
    assert found["WORLD_SIZE"] is None
    assert found["MASTER_PORT"] is None


def test_submit_of_more_gpus_than_there_are_is_refused(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    local = LocalExecutor()
    with pytest.raises(InfrastructureError, match="needs 4 GPUs; 2 are free here"):
        local.submit(make_job({}, launch=Launch.GANG, nodes=2, gpus_per_node=2))
    local.close()


def test_attempts_side_by_side_get_different_ports_and_each_its_end(submit: Submit) -> None:
    attempts = [submit("environment", launch=Launch.GANG) for _ in range(4)]
    ends: set[tuple[str, int]] = set()
    while len(ends) < 4:
        ends |= {(end.attempt_id, end.exit_code) for end in attempts[0].executor.wait(30)}
    assert ends == {(attempt.job.attempt_id, 0) for attempt in attempts}
    ports = {
        json.loads(path.read_text())["MASTER_PORT"]
        for artifact in attempts[0].artifacts()
        for path in (artifact / "files").iterdir()
    }
    assert len(ports) == 4
