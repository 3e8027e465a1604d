"""How failures of stages are told: where, why, what the log said last, and what to do."""

import re
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import Said, pipeline

DAG = """\
name: fails
stages:
  scores:
    uses: command
    matrix: {seed: [1, 2]}
    with:
      argv: [sh, -c, 'echo "{\\"accuracy\\": 0.${matrix.seed}}" > "$0/scores.json"', '{outputs.s}']
      outputs: {s: scores}
  good: {uses: check, inputs: {scores: [scores.s]}, with: {accuracy: {min: 0.15}}}
  broken:
    uses: command
    with: {argv: [sh, -c, 'echo "{" > "$0/scores.json"', '{outputs.s}'], outputs: {s: scores}}
  empty:
    uses: command
    with: {argv: ['true'], outputs: {o: folder}}
  mine: {uses: './mine.py:MINE'}
  again: {uses: './mine.py:MINE', with: {salt: 1}, retry: {max_attempts: 3, backoff_seconds: 0}}
"""
MINE = """\
import json

from pipeline.spec.config import StageConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec

class Config(StageConfig):
    "A file."

    salt: int = 0

def run(ctx):
    print("\\033[31mred\\033[0m 10 %\\r 20 %")
    json.loads("{broken")

MINE = StageSpec(name="mine", config=Config, outputs={"o": FOLDER}, run="mine:run")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fails")
    (folder / "dag.yaml").write_text(DAG)
    (folder / "mine.py").write_text(MINE)
    return folder


@pytest.fixture(scope="module")
def failed(folder: Path) -> Said:
    said = pipeline(folder, "run", "dag.yaml", "--keep-going")
    assert said.code == ExitCode.STAGE_FAILED
    return said


def _block(said: Said, stage: str) -> str:
    return re.split(r"\n(?=\w)", said.err[said.err.index(f"{stage}: attempt") :])[0]


def test_check_that_fails_names_the_runs_and_speaks_of_no_data(failed: Said) -> None:
    block = _block(failed, "good")
    assert (
        "76 check failed: rank 0: CheckFailed: accuracy of scores[seed=1] is 0.1, wanted" in block
    )
    assert "seed=2] is" not in block
    assert "Change what leads to the score, or the bound" in block


@pytest.mark.parametrize(
    ("stage", "cause"),
    [
        ("broken", "output port s: .*scores.json: not readable"),
        ("empty", "port o: the stage wrote no"),
    ],
)
def test_wrong_outputs_are_the_codes_fault(failed: Said, stage: str, cause: str) -> None:
    block = _block(failed, stage)
    assert re.search(f"73 wrong outputs: rank 0: OutputError: .*{cause}", block)
    assert "Mend the stage's code" in block


def test_crash_shows_the_users_line_and_the_end_of_the_log_once(failed: Said, folder: Path) -> None:
    block = _block(failed, "mine")
    assert f"  In {folder}/mine.py:14, in run\n" in block
    assert re.search(r"\n  \| json\.decoder\.JSONDecodeError: Expecting", block)
    assert "\033" not in failed.err
    cause = "rank 0: JSONDecodeError: Expecting"
    assert (
        len([line for line in failed.lines if line[9:].startswith("mine: ") and cause in line]) == 1
    )


def test_crash_of_a_single_process_is_tried_again_only_where_asked(failed: Said) -> None:
    assert "mine: attempt 1: 1 crashed" in failed.err
    assert "again: attempt 2: 1 crashed" in failed.err
    assert "twice the same: not tried again" in _block(failed, "again")
