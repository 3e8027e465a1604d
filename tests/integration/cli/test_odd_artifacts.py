"""Commands that read artifacts which are damaged, or not what their kind says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import pipeline

ODD = """\
name: odd
stages:
  raw:
    uses: command
    with: {argv: [sh, -c, 'echo hello > "$0/x.txt"', '{outputs.o}'], outputs: {o: folder}}
  odd:
    uses: command
    with:
      argv: [sh, -c, 'echo "{" > "$0/table.json"; echo no > "$1/model.safetensors"; echo no > "$2/index-0.json"', '{outputs.t}', '{outputs.c}', '{outputs.d}']
      outputs: {t: table, c: checkpoint(x), d: shards(tokens)}
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that ran: one good artifact, and three whose content is not as their kind says."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "dag.yaml").write_text(ODD)
    assert pipeline(folder, "run", "dag.yaml").code == ExitCode.OK
    return folder


@pytest.mark.parametrize(
    ("port", "what"), [("t", "JSONDecodeError"), ("c", "error"), ("d", "index-0.json")]
)
def test_peek_at_what_is_not_as_its_kind_says_tells_what_and_how_to_get_it(
    odd: Path, port: str, what: str
) -> None:
    run = pipeline(odd, "list").lines[-1].split()[0]
    said = pipeline(odd, "peek", f"{run}:odd.{port}")
    assert said.code == ExitCode.USER_ERROR
    assert re.match(rf"{run}:odd\.{port} cannot be shown: .*{what}", said.err)
    assert "`pipeline get`" in said.err
    assert "Traceback" not in said.err


def test_output_that_cannot_be_written_is_no_bug_of_ours(odd: Path) -> None:
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "list"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, cwd=odd, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == ExitCode.INFRASTRUCTURE
    assert ended.stderr.endswith("\nthe output cannot be written: No space left on device\n")
    assert "Traceback" not in ended.stderr


def test_peek_with_something_else_than_a_tokenizer_says_what_it_is(odd: Path) -> None:
    run = pipeline(odd, "list").lines[-1].split()[0]
    said = pipeline(odd, "peek", f"{run}:odd.d", "--tokenizer", f"{run}:raw.o")
    assert said.code == ExitCode.USER_ERROR
    assert "--tokenizer" in said.err
    assert "is a folder, not a tokenizer" in said.err


def test_peek_and_get_of_a_damaged_artifact_name_the_file_and_end_with_3(odd: Path) -> None:
    run = pipeline(odd, "list").lines[-1].split()[0]
    status = json.loads(pipeline(odd, "status", run, "-o", "json").out)
    digest = status["stages"]["raw"]["artifacts"]["o"]
    (file,) = (odd / ".pipeline/artifacts" / digest).rglob("x.txt")
    file.chmod(0o600)
    file.write_text("hallo\n")
    for said in (
        pipeline(odd, "peek", digest),
        pipeline(odd, "get", run, "raw.o", "-o", "got"),
    ):
        assert said.code == ExitCode.INFRASTRUCTURE
        assert "x.txt" in said.err
        assert "Traceback" not in said.err
    assert not (odd / "got").exists()
