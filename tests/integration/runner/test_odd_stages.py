"""Stages that end in ways nobody should; the run says so, and its record stays readable."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGE = """
import os
from pipeline.spec.config import StageConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec

print("printed on import")


class Odd(StageConfig):
    how: str


def run(ctx):
    if ctx.config.how == "leave":
        os._exit(0)
    if ctx.config.how == "shout":
        raise ValueError("\\ud800" + "z" * 3_000_000)
    (ctx.outputs["out"] / "file").write_text("x")


ODD = StageSpec(name="odd", config=Odd, run="odd:run", outputs={"out": FOLDER})
"""
DAG = """
name: odd
stages:
  leave: {uses: './odd.py:ODD', with: {how: leave}}
  shout: {uses: './odd.py:ODD', with: {how: shout}, retry: {max_attempts: 1}}
  good: {uses: './odd.py:ODD', with: {how: well}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "odd.py").write_text(STAGE)
    (tmp_path / "dag.yaml").write_text(DAG)
    return tmp_path


def _pipeline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = "from pipeline.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_odd_stages_fail_alone_and_shortly_and_leave_a_readable_run(folder: Path) -> None:
    done = _pipeline(folder, "run", "dag.yaml", "--keep-going")
    assert done.returncode == 1, done.stderr
    assert "ended with 0 before its outputs were taken in" in done.stderr
    assert len(done.stderr) < 20_000
    status = json.loads(_pipeline(folder, "status", "-o", "json").stdout)
    found = {name: stage["status"] for name, stage in status["stages"].items()}
    assert found == {"leave": "failed", "shout": "failed", "good": "done"}
    assert _pipeline(folder, "list").returncode == 0


def test_odd_stage_file_that_prints_does_not_disturb_json(folder: Path) -> None:
    planned = json.loads(_pipeline(folder, "plan", "dag.yaml", "-o", "json").stdout)
    assert set(planned["stages"]) == {"leave", "shout", "good"}
