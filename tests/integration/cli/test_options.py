"""Options of the command line that no other test gives, on a DAG whose first stage fails at first."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import pipeline

DAG = """\
name: two
stages:
  bad:
    uses: command
    with: {argv: [sh, -c, 'test -e MENDED && touch "$0/x" || exit 65', '{outputs.o}'], outputs: {o: folder}}
  below:
    uses: command
    inputs: {i: bad.o}
    with: {argv: [touch, '{outputs.o}/x'], inputs: {i: folder}, outputs: {o: folder}}
  apart:
    uses: command
    with: {argv: [touch, '{outputs.o}/y'], outputs: {o: folder}}
  side:
    uses: command
    with: {argv: [touch, '{outputs.o}/z'], outputs: {o: folder}}
"""
MINE = """\
from pipeline.spec.config import StageConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec

class Config(StageConfig):
    "A file."

def run(ctx):
    (ctx.outputs["o"] / "x").write_text("1")

MINE = StageSpec(name="mine", config=Config, outputs={"o": FOLDER}, run="mine:run")
"""


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """`bad` fails until there is a file `mended`; `below` needs it, `apart` and `side` do not."""
    (tmp_path / "dag.yaml").write_text(DAG.replace("MENDED", str(tmp_path / "mended")))
    return tmp_path


def _statuses(folder: Path) -> dict[str, str]:
    document = json.loads(pipeline(folder, "status", "-o", "json").out)
    return {address: stage["status"] for address, stage in document["stages"].items()}


def test_keep_going_does_what_does_not_need_what_failed(failing: Path) -> None:
    said = pipeline(failing, "run", "dag.yaml", "-j", "1")
    assert said.code == ExitCode.STAGE_FAILED
    assert _statuses(failing)["side"] != "done"
    said = pipeline(failing, "run", "dag.yaml", "-j", "1", "--keep-going")
    assert said.code == ExitCode.STAGE_FAILED
    wanted = {"bad": "failed", "below": "blocked", "apart": "done", "side": "done"}
    assert _statuses(failing) == wanted


def test_retry_does_what_failed_and_resume_what_is_left(failing: Path) -> None:
    pipeline(failing, "run", "dag.yaml", "-j", "1")
    (failing / "mended").touch()
    assert pipeline(failing, "retry").code == ExitCode.OK
    wanted = {"bad": "done", "below": "done", "apart": "skipped", "side": "skipped"}
    assert _statuses(failing) == wanted
    nothing = pipeline(failing, "retry")
    assert nothing.code == ExitCode.USER_ERROR
    assert "nothing failed; `pipeline resume" in nothing.err
    assert pipeline(failing, "resume").code == ExitCode.OK
    wanted = {"bad": "done", "below": "done", "apart": "done", "side": "done"}
    assert _statuses(failing) == wanted


def test_resume_after_the_file_changed_says_that_it_takes_the_old_one(failing: Path) -> None:
    assert "then `pipeline run` the DAG again" in pipeline(failing, "run", "dag.yaml").err
    assert "changed since" not in pipeline(failing, "resume").err
    dag = failing / "dag.yaml"
    dag.write_text(dag.read_text().replace("exit 65", "exit 66"))
    for command in ("resume", "retry"):
        said = pipeline(failing, command)
        assert f"{dag} changed since run" in said.err
        assert f"`pipeline run {dag}` takes the new ones" in said.err
        assert "65 bad data" in said.err


def test_retry_leaves_what_is_done_within_reach(failing: Path, tmp_path: Path) -> None:
    pipeline(failing, "run", "dag.yaml", "--keep-going")
    assert pipeline(failing, "retry").code == ExitCode.STAGE_FAILED
    assert _statuses(failing)["apart"] == "done"
    run = pipeline(failing, "list").lines[-1].split()[0]
    assert pipeline(failing, "get", run, "apart.o", "-o", "out").code == ExitCode.OK
    assert "absent" not in pipeline(failing, "diff", run, run).out


def test_values_file_is_laid_over_the_dag(failing: Path) -> None:
    (failing / "v.yaml").write_text("stages.side.timeout_seconds: 77\n")
    arguments = ("dag.yaml", "side", "--values", "v.yaml")
    said = pipeline(failing, "plan", *arguments, "--show-origin")
    (line,) = [one for one in said.lines if one.startswith("stages.side.timeout_seconds = 77")]
    assert line.endswith("v.yaml:1")
    assert pipeline(failing, "run", *arguments).code == ExitCode.OK


def test_accept_code_keeps_a_result_of_older_code_for_good(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "dag.yaml").write_text("name: m\nstages:\n  mine: {uses: ./mine.py:MINE}\n")
    assert pipeline(tmp_path, "run", "dag.yaml").code == ExitCode.OK
    (tmp_path / "mine.py").write_text(MINE.replace('"1"', '"2"'))
    assert pipeline(tmp_path, "plan", "dag.yaml").lines[-1] == "m: 1 to run"
    said = pipeline(tmp_path, "run", "dag.yaml", "--accept-code", "mine")
    assert said.code == ExitCode.OK
    assert "1 to reuse" in said.out
    assert pipeline(tmp_path, "plan", "dag.yaml", "--exit-code").code == ExitCode.OK


def test_strict_refuses_what_is_not_committed(failing: Path) -> None:
    refused = pipeline(failing, "run", "dag.yaml", "side", "--strict")
    assert refused.code == ExitCode.USER_ERROR
    assert "is not in a git work tree" in refused.err
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(failing))
    for command in (("init", "-q"), ("add", "dag.yaml"), ("commit", "-qm", "x")):
        subprocess.run([*git, *command], check=True)
    (failing / "dag.yaml").write_text((failing / "dag.yaml").read_text() + "\n")
    refused = pipeline(failing, "run", "dag.yaml", "side", "--strict")
    assert refused.code == ExitCode.USER_ERROR
    assert "has uncommitted changes" in refused.err
    assert pipeline(failing, "list").out == ""


@pytest.mark.parametrize(
    "options", [("--older-than", "0"), ("--max-size", "0"), ("--max-size", "0B", "--all")]
)
def test_cache_gc_spares_what_is_young_whatever_is_asked(
    failing: Path, options: tuple[str, ...]
) -> None:
    assert pipeline(failing, "run", "dag.yaml", "--only", "side").code == ExitCode.OK
    said = pipeline(failing, "cache", "gc", *options)
    assert said.code == ExitCode.OK
    assert "; 1 artifacts younger than an hour are kept" in said.lines[-1]
    shown = pipeline(failing, "cache", "ls").lines
    assert shown[0].startswith("side (command), ")
    digest, port = shown[1].split()
    assert port == "o"
    assert pipeline(failing, "peek", digest).code == ExitCode.OK


def test_plan_says_from_where_a_stage_goes_on(failing: Path) -> None:
    planned = json.loads(pipeline(failing, "plan", "dag.yaml", "-o", "json").out)["stages"]
    key = planned["side"]["plan_key"]
    for step in ("step-00000300", "step-00000669"):
        (failing / ".pipeline" / "state" / f"{key}-0123" / step).mkdir(parents=True)
    told = [line for line in pipeline(failing, "plan", "dag.yaml").lines if "goes on" in line]
    (line,) = told
    assert line.startswith("side ")
    assert line.endswith("; goes on from step 669")


def test_stages_shows_a_kind_of_a_file_and_the_bounds_of_check(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert pipeline(tmp_path, "stages", "./mine.py:MINE").lines[0] == "mine  (process)"
    shown = pipeline(tmp_path, "stages", "check").lines
    assert "  NAME: Bound, any number of them" in shown
    assert any(line.startswith("    min: number | null") for line in shown)


def test_validate_as_json_has_problems_with_their_places(failing: Path) -> None:
    good = pipeline(failing, "validate", "dag.yaml", "-o", "json")
    assert json.loads(good.out)["stages"] == ["bad", "below", "apart", "side"]
    wrong = pipeline(failing, "validate", "dag.yaml", "-o", "json", "--set", "stages.bad.sed=1")
    assert wrong.code == ExitCode.USER_ERROR
    (problem,) = json.loads(wrong.out)["problems"]
    assert (problem["path"], problem["message"]) == ("stages.bad.sed", "unknown key")


def test_pipe_as_a_dag_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dag.yaml")
    said = pipeline(tmp_path, "validate", "dag.yaml")
    assert said.code == ExitCode.USER_ERROR
    assert "is no regular file" in said.err


def test_version_is_an_option_too(tmp_path: Path) -> None:
    assert pipeline(tmp_path, "--version").out == pipeline(tmp_path, "version").out


def test_cache_gc_of_a_size_that_is_none_says_how_to_write_one(failing: Path) -> None:
    wrong = pipeline(failing, "cache", "gc", "--max-size", "lots")
    assert wrong.code == ExitCode.USER_ERROR
    assert "not a size: 'lots'; write e.g. 4GiB" in wrong.err


def test_resources_of_pods_are_told_once_to_be_ignored_here(
    failing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sets = ("--set", "stages.side.resources.shm=1GiB", "--set", "stages.apart.resources.disk=1GiB")
    assert pipeline(failing, "run", "dag.yaml", "side", *sets).code == ExitCode.OK
    told = [record.message for record in caplog.records if "resources.shm" in record.message]
    assert len(told) == 1
    assert told[0].endswith("(set in apart, side)")
