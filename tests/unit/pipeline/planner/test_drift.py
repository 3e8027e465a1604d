"""Whether files that change after a stage was planned are noticed, and only when they matter."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.planner import drift as drift_module
from pipeline.planner.drift import Drift, Drifted
from pipeline.planner.plan import PlannedStage
from tests.planner.desk import Desk

KIND = """
from pipeline.spec.config import Source, StageConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec

class Config(StageConfig):
    files: Source

def run(ctx):
    from beside import value
    return value

MINE = StageSpec(name="mine", config=Config, run="mine:run", outputs={"out": FOLDER})
"""
DAG = "name: drift\nstages:\n  s: {uses: './mine.py:MINE', with: {files: data}}\n"
LONG_AGO = 1_600_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "mine.py").write_text(KIND)
    (tmp_path / "beside.py").write_text("value = 1\n")
    for path in (*tmp_path.rglob("*"), tmp_path):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return tmp_path


@pytest.fixture
def planned(folder: Path) -> PlannedStage:
    return Desk(folder).plan(DAG).stages["s"]


@pytest.fixture
def drift(folder: Path) -> Iterator[Drift]:
    drift = Drift(folder / "work")
    yield drift
    drift.close()


def test_drift_of_what_stands_still_passes(drift: Drift, planned: PlannedStage) -> None:
    for _ in range(3):
        drift.check(planned)


@pytest.mark.parametrize(
    ("file", "text", "sources"),
    [
        ("mine.py", KIND.replace("return value", "return value + 1"), False),
        ("beside.py", "value = 2\n", False),
        ("data/a.txt", "b", True),
        ("data/b.txt", "b", True),
    ],
)
def test_drift_of_changed_content_names_it(
    drift: Drift, planned: PlannedStage, folder: Path, file: str, text: str, sources: bool
) -> None:
    drift.check(planned)
    (folder / file).write_text(text)
    with pytest.raises(Drifted, match="since the run was planned, these changed: ") as caught:
        drift.check(planned)
    assert str(folder / ("data" if sources else file)) in str(caught.value)
    assert caught.value.sources is sources


def test_drift_of_a_comment_passes(drift: Drift, planned: PlannedStage, folder: Path) -> None:
    (folder / "mine.py").write_text(KIND.replace("return value", "return value  # why"))
    drift.check(planned)


def test_drift_of_a_file_that_is_gone_names_the_module(
    drift: Drift, planned: PlannedStage, folder: Path
) -> None:
    drift.check(planned)
    (folder / "beside.py").unlink()
    with pytest.raises(Drifted, match="beside"):
        drift.check(planned)


def test_drift_reads_no_code_again_once_it_has_settled(
    drift: Drift, planned: PlannedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_module, "is_settled", lambda *_: True)
    drift.check(planned)
    monkeypatch.setattr(drift_module, "CodeDigests", None)
    drift.check(planned)


def test_drift_of_code_changed_after_it_was_imported_passes(
    drift: Drift, planned: PlannedStage, folder: Path
) -> None:
    before = time.time() - 1
    (folder / "beside.py").write_text("value = 2\n")
    drift.check(planned, imported=before)
    with pytest.raises(Drifted):
        drift.check(planned, imported=time.time() + 60)


def test_drift_of_sources_counts_until_the_end(
    drift: Drift, planned: PlannedStage, folder: Path
) -> None:
    before = time.time() - 1
    (folder / "data" / "a.txt").write_text("b")
    with pytest.raises(Drifted):
        drift.check(planned, imported=before)
