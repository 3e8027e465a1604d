"""The records an attempt leaves, and where its run keeps things."""

from pathlib import Path

from pipeline.spec.attempt import AttemptFolder, NodeExit, RankFailure, log_tail


def test_records_round_trip(tmp_path: Path) -> None:
    failure = RankFailure("DataError", "bad: ü", "frames", 65, 12.5)
    end = NodeExit(137, 3, "SIGKILL", "rank 3 was killed", ["a", "b"], 13.0)
    failure.write(tmp_path / "failure-3.json")
    end.write(tmp_path / "exit-0.json")
    assert RankFailure.read(tmp_path / "failure-3.json") == failure
    assert NodeExit.read(tmp_path / "exit-0.json") == end


def test_record_that_is_absent_or_torn_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "exit-0.json").write_text('{"exit_code": 1')
    (tmp_path / "exit-1.json").write_text('{"other": 1}')
    assert [NodeExit.read(tmp_path / f"exit-{node}.json") for node in range(3)] == [None] * 3


def test_log_tail_gives_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "rank-0.log"
    log.write_bytes(b"\xff" * 100_000 + b"\n" + b"".join(b"line %d\n" % n for n in range(100)))
    assert log_tail(log, 2) == ["line 98", "line 99"]
    assert log_tail(tmp_path / "absent.log") == []


def test_attempt_of_a_run_shares_notes_with_the_run_and_copies_with_all_runs() -> None:
    folder = AttemptFolder(Path("/w/.pipeline/runs/r1/stages/train/2"))
    assert folder.verified_inputs == Path("/w/.pipeline/runs/r1/verified")
    assert folder.machine_cache == Path("/w/.pipeline/cache")


def test_attempt_that_stands_alone_keeps_all_to_itself() -> None:
    folder = AttemptFolder(Path("/job"))
    assert folder.verified_inputs == Path("/job/verified")
    assert folder.machine_cache == Path("/job/cache")
