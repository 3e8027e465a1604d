"""Every command on a project that ran once: what it prints, and what it ends with."""

import json
import re
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import Said, pipeline

RANDOM = """\
name: random
stages:
  a:
    uses: command
    with:
      argv: [sh, -c, 'head -c 16 /dev/urandom > "$0/x"', '{outputs.o}']
      outputs: {o: folder}
  b:
    uses: command
    inputs: {i: a.o}
    with: {argv: [cp, '{inputs.i}/x', '{outputs.o}/x'], inputs: {i: folder}, outputs: {o: folder}}
"""


@pytest.fixture(scope="module")
def first(project: Path) -> Said:
    """The first run: three stages succeed, the last one says that its data is bad."""
    return pipeline(project, "run", "dag.yaml", "--jobs", "2")


@pytest.fixture(scope="module")
def run(project: Path, first: Said) -> str:
    """The first run's id."""
    return pipeline(project, "list").lines[0].split()[0]


def test_run_tells_events_results_and_the_failure(first: Said, project: Path) -> None:
    assert first.code == ExitCode.STAGE_FAILED
    told = [line.split(maxsplit=1)[1] for line in first.lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert "raw: started" in told
    assert any(line.startswith("cell[k=2]: done in ") for line in told)
    assert "table.t\n  cell   score\n  both  0.5123\n  none      12\n" in first.out
    assert "table.s: accuracy 0.75" in first.out  # what should have read it failed
    assert re.search(r"run \S+: failed: 4 done, 1 failed in ", first.out)
    assert f"results: {(project / '.pipeline').as_uri()}" in first.out
    assert re.match(
        r"bad: attempt 1: 65 bad data: rank 0: .*\n(  \| .*\n)+  Log: /.*rank-0.log\n  Mend",
        first.err,
    )
    assert "Traceback" not in first.err


def test_run_again_reuses_and_tries_the_failed_one_again(project: Path, run: str) -> None:
    again = pipeline(project, "run", "dag.yaml")
    assert again.code == ExitCode.STAGE_FAILED
    assert "4 to reuse, 1 to run" in again.lines[0]


def test_run_until_what_is_there_prints_its_scores(project: Path, run: str) -> None:
    said = pipeline(project, "run", "dag.yaml", "--until", "table")
    assert said.code == ExitCode.OK
    assert "table.s: accuracy 0.75" in said.out


def test_forced_stage_that_gives_the_same_leaves_the_rest(project: Path, run: str) -> None:
    said = pipeline(project, "run", "dag.yaml", "--until", "table", "--force", "raw")
    assert said.code == ExitCode.OK
    assert "raw: done in " in said.out
    assert "cell[k=1]: reused (built by run " in said.out
    assert "table: reused (built by run " in said.out


def test_forced_stage_that_gives_something_else_runs_the_rest(tmp_path: Path) -> None:
    (tmp_path / "dag.yaml").write_text(RANDOM)
    assert pipeline(tmp_path, "run", "dag.yaml").code == ExitCode.OK
    said = pipeline(tmp_path, "run", "dag.yaml", "--force", "a")
    assert "b: done in " in said.out
    newest = pipeline(tmp_path, "list").lines[-1].split()[0]
    for name in "ab":
        pipeline(tmp_path, "get", newest, f"{name}.o", "-o", name)
    assert (tmp_path / "a/x").read_bytes() == (tmp_path / "b/x").read_bytes()
    assert "2 to reuse" in pipeline(tmp_path, "run", "dag.yaml").lines[0]


def test_run_as_json_is_one_event_a_line(project: Path, run: str) -> None:
    said = pipeline(project, "run", "dag.yaml", "raw", "-o", "json")
    events = [json.loads(line) for line in said.lines]
    assert [one["kind"] for one in events] == ["run_started", "stages_planned", "run_ended"]
    assert {one["run"] for one in events} == {pipeline(project, "list").lines[-1].split()[0]}


def test_dry_run_is_a_plan_and_leaves_no_run(project: Path, run: str) -> None:
    before = pipeline(project, "list").lines
    said = pipeline(project, "run", "dag.yaml", "-n", "--set", "params.word=bye")
    assert said.code == ExitCode.OK
    assert said.lines[-1] == "toy: 5 to run"
    assert pipeline(project, "list").lines == before


def test_plan_says_what_changed_and_where(project: Path, run: str) -> None:
    said = pipeline(project, "plan", "dag.yaml", "--set", "params.word=bye")
    assert re.match(r"raw +run +process +miss: with.argv\[4\] .*hello.* -> .*bye", said.lines[0])
    assert re.match(r"cell\[k=1\] +run +process +miss: input.i changed \(raw.o\)", said.lines[1])


def test_plan_exit_code_tells_whether_something_would_run(project: Path, run: str) -> None:
    assert pipeline(project, "plan", "dag.yaml", "--exit-code", "--until", "table").code == 0
    assert pipeline(project, "plan", "dag.yaml", "--exit-code").code == 1
    assert pipeline(project, "plan", "no.yaml", "--exit-code").code == ExitCode.USER_ERROR


def test_plan_as_json_has_keys_reasons_and_origins(project: Path, run: str) -> None:
    said = pipeline(project, "plan", "dag.yaml", "-o", "json", "--show-origin")
    stage = json.loads(said.out)["stages"]["raw"]
    assert stage["action"] == "reuse"
    assert stage["reasons"] == ["same configuration, code and inputs"]
    assert len(stage["plan_key"]) == 64
    assert stage["origins"]["stages.raw.with.argv"]["line"] == 7


def test_plan_show_origin_names_values_and_layers(project: Path, run: str) -> None:
    said = pipeline(
        project, "plan", "dag.yaml", "--show-origin", "--set", "stages.raw.retry.max_attempts=7"
    )
    assert re.search(r'stages\.raw\.with\.argv\.0 = "sh" +file .*dag\.yaml:7', said.out)
    assert re.search(r"stages\.raw\.retry\.max_attempts = 7 +--set", said.out)
    assert re.search(r"stages\.raw\.resources\.nodes = 1 +default", said.out)


def test_plan_show_origin_hides_what_the_environment_holds(project: Path) -> None:
    said = pipeline(
        project,
        "plan",
        "dag.yaml",
        "--show-origin",
        "--set",
        "stages.raw.with.argv=['${env.SECRET_WORD}', '{outputs.o}']",
        SECRET_WORD="hunter2",
    )
    assert said.code == ExitCode.OK
    origins = said.out.partition("\n\n")[2]
    assert "stages.raw.with.argv.0 = ${env.SECRET_WORD}" in origins
    assert "hunter2" not in origins


def test_explain_names_fields_and_files(project: Path, run: str) -> None:
    said = pipeline(project, "explain", "dag.yaml", "raw", "--set", "params.word=bye")
    assert "changed since then:\n  with.argv[4]" in said.out
    assert "code.pipeline.node.builtins.command = " not in said.out
    said = pipeline(project, "explain", "dag.yaml", "raw", "-v")
    assert "code.pipeline.node.builtins.command = " in said.out
    assert said.out.index("\n  kind = ") < said.out.index("\n  with.") < said.out.index("\n  code.")
    cells = pipeline(project, "explain", "dag.yaml", "cell")
    assert re.findall(r"^cell\[k=.\]", cells.out, re.MULTILINE) == ["cell[k=1]", "cell[k=2]"]
    document = json.loads(pipeline(project, "explain", "dag.yaml", "raw", "-o", "json").out)
    assert document["action"] == "reuse"
    assert document["changed"] == []


def test_list_and_status_show_the_runs(project: Path, run: str) -> None:
    assert re.match(rf"{run}  toy +failed ", pipeline(project, "list").lines[0])
    said = pipeline(project, "status", run)
    assert said.lines[0] == f"run {run}  toy  failed  (pipeline resume {run} goes on)"
    assert any(re.match(r"✘ +bad +1 ", line) for line in said.lines)
    document = json.loads(pipeline(project, "status", run, "-o", "json").out)
    assert document["stages"]["bad"]["attempts"][0]["exit_code"] == 65


def test_describe_says_why_a_stage_failed_and_what_to_do(project: Path, run: str) -> None:
    said = pipeline(project, "describe", run, "bad")
    assert "exit 65 (fatal)" in said.out
    assert "next      Mend or leave out the data" in said.out
    whole = pipeline(project, "describe", run)
    assert "file      " in whole.out
    assert "cell[k=2]  done" in whole.out
    document = json.loads(pipeline(project, "describe", run, "-o", "json").out)
    assert document["record"]["request"]["jobs"] == 2
    unknown = pipeline(project, "describe", run, "nope")
    assert unknown.code == ExitCode.USER_ERROR
    assert "has no stage 'nope'" in unknown.err


def test_logs_print_what_a_rank_said(project: Path, run: str) -> None:
    assert "oh no" in pipeline(project, "logs", run, "bad").out
    assert "said it" in pipeline(project, "logs", run, "raw", "--rank", "0", "--follow").out
    assert "rank 0 <==" not in pipeline(project, "logs", run, "raw", "--all-ranks").out
    none = pipeline(project, "logs", run, "raw", "--attempt", "9")
    assert none.code == ExitCode.USER_ERROR
    assert "no attempt 9" in none.err


def test_get_copies_an_output_once(project: Path, run: str) -> None:
    said = pipeline(project, "get", run, "cell[k=2].o", "-o", "got/it")
    assert said.code == ExitCode.OK
    assert (project / "got/it/y.txt").read_text() == "hello\n2\n"
    assert pipeline(project, "get", run, "cell[k=2].o", "-o", "got/it").code == ExitCode.USER_ERROR
    unknown = pipeline(project, "get", run, "raw.nope", "-o", "other")
    assert unknown.code == ExitCode.USER_ERROR
    assert "Did you mean raw.o? It has: cell[k=1].o" in unknown.err


def test_name_of_a_matrix_means_its_cells(project: Path, run: str) -> None:
    said = pipeline(project, "describe", run, "cell")
    assert re.findall(r"^cell\[k=.\]", said.out, re.MULTILINE) == ["cell[k=1]", "cell[k=2]"]
    said = pipeline(project, "get", run, "cell.o", "-o", "cells")
    assert "Name a cell: cell[k=1].o, cell[k=2].o." in said.err
    assert "Did you mean table.s?" in pipeline(project, "get", run, "tabel.s", "-o", "x").err


def test_peek_shows_kind_and_content(project: Path, run: str) -> None:
    said = pipeline(project, "peek", f"{run}:table.s")
    assert re.match(r"[0-9a-f]{64}\nscores, 1 files", said.out)
    assert '"accuracy": 0.75' in said.out
    digest = said.lines[0]
    assert pipeline(project, "peek", digest[:10]).out == said.out
    assert pipeline(project, "peek", f"{run}:raw.o").lines[-1] == "  x.txt 6 bytes"
    assert "no artifact begins with 'xyz'" in pipeline(project, "peek", "xyz").err


def test_cache_lists_verifies_and_finds_damage(project: Path, run: str) -> None:
    assert "raw (command)" in pipeline(project, "cache", "ls").out
    stages = {
        row["stage"] for row in json.loads(pipeline(project, "cache", "ls", "-o", "json").out)
    }
    assert stages == {"raw", "cell[k=1]", "cell[k=2]", "table"}
    said = pipeline(project, "cache", "verify")
    assert (said.code, said.lines[-1].split(" read, ")[1]) == (0, "0 damaged")
    assert pipeline(project, "cache", "gc", "-n").lines[-1].startswith("0 would go")


def test_diff_shows_settings_and_artifacts(project: Path, run: str) -> None:
    other = pipeline(project, "run", "dag.yaml", "raw", "--set", "params.word=other")
    assert other.code == ExitCode.OK
    newest = pipeline(project, "list").lines[-1].split()[0]
    said = pipeline(project, "diff", run, newest)
    assert 'resolved.params.word: "hello" -> "other"' in said.lines
    assert len([line for line in said.lines if '"hello" -> "other"' in line]) == 1
    assert any(line.startswith("artifacts.raw.o: ") for line in said.lines)
    assert "{}" not in said.out
    assert pipeline(project, "diff", run, run).out == "no difference\n"


def test_resume_uses_what_the_run_was_asked_and_not_the_file(project: Path, run: str) -> None:
    text = (project / "dag.yaml").read_text()
    (project / "dag.yaml").write_text("name: [")
    try:
        said = pipeline(project, "resume", run)
    finally:
        (project / "dag.yaml").write_text(text)
    assert said.code == ExitCode.STAGE_FAILED
    assert re.search(rf"run {run}: 4 to reuse, 1 to run", said.out)
    attempts = json.loads(pipeline(project, "status", run, "-o", "json").out)["stages"]["bad"]
    assert [attempt["number"] for attempt in attempts["attempts"]] == [1, 2]


def test_retry_of_a_stage_tries_it_again(project: Path, run: str) -> None:
    said = pipeline(project, "retry", run, "bad")
    assert said.code == ExitCode.STAGE_FAILED
    assert "bad: started again, attempt 3" in said.out


def test_cancel_of_a_run_that_is_over_says_so(project: Path, run: str) -> None:
    said = pipeline(project, "cancel", run)
    assert said.code == ExitCode.USER_ERROR
    assert "is not running" in said.err


def test_store_of_a_run_is_remembered_in_the_folder(project: Path, run: str) -> None:
    elsewhere = (project / "elsewhere").as_uri()
    first = pipeline(project, "run", "dag.yaml", "raw", "--store", "elsewhere")
    assert first.code == ExitCode.OK
    assert elsewhere in first.out
    listed = pipeline(project, "list")
    assert len(listed.lines) == 1
    assert listed.err == f"1 runs in {elsewhere}\n"
    assert pipeline(project, "run", "dag.yaml", "raw").code == ExitCode.OK
    assert len(pipeline(project, "list").lines) > 1
    assert len(pipeline(project, "list", PIPELINE_STORE=elsewhere).lines) == 1
