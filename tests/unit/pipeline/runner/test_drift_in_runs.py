"""Files that change between the plan and the end of an attempt: nothing is kept under the old key."""

from pathlib import Path

import pytest

from pipeline.cache.artifacts import Artifacts
from pipeline.executors.base import AttemptEnd
from pipeline.executors.fake import FakeExecutor
from pipeline.planner.make_plan import make_plan
from pipeline.planner.plan import Action, Plan
from pipeline.planner.selection import Selection
from pipeline.runner.outcome import RunOutcome
from pipeline.spec.job import Job
from pipeline.spec.ports import FOLDER
from tests.builders import load
from tests.runner.lab import Lab

KIND = """
from pipeline.spec.config import Source, StageConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec

class Config(StageConfig):
    files: Source

def run(ctx):
    return "old"

MINE = StageSpec(name="mine", config=Config, run="mine:run", outputs={"out": FOLDER})
"""
DAG = """
name: drift
stages:
  mine: {uses: './mine.py:MINE', with: {files: data.txt}, retry: {max_attempts: 3, backoff_seconds: 0}}
"""


class Project:
    """A folder with a stage of its own and its data; attempts go wrong as told."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.code = lab.folder / "mine.py"
        self.data = lab.folder / "data.txt"
        self.code.write_text(KIND)
        self.data.write_text("old")

    def plan(self) -> Plan:
        dag = load(self.lab.folder, DAG)
        return make_plan(dag, self.lab.store, Selection(), workdir=self.lab.folder)

    def edit(self, file: str) -> None:
        path = self.lab.folder / file
        path.write_text(path.read_text().replace("old", "new"))

    def edit_back(self, file: str) -> None:
        path = self.lab.folder / file
        path.write_text(path.read_text().replace("new", "old"))

    def write(self, job: Job) -> int:
        artifacts = Artifacts(self.lab.store)
        out = artifacts.staging(job.plan_key, job.attempt_id, "out")
        (out / "said").write_text("something")
        artifacts.write_part(job.plan_key, job.attempt_id, {"out": FOLDER})
        return 0

    def run(self, executor: FakeExecutor, plan: Plan | None = None) -> RunOutcome:
        return self.lab.run(plan or self.plan(), executor)


@pytest.fixture
def project(lab: Lab) -> Project:
    return Project(lab)


def _failure(outcome: RunOutcome) -> tuple[int, str, str]:
    failure = outcome.state.stages["mine"].failure
    assert failure is not None
    return failure.exit_code, failure.cause, failure.advice


@pytest.mark.parametrize("file", ["mine.py", "data.txt"])
def test_run_of_what_changed_since_the_plan_starts_nothing(project: Project, file: str) -> None:
    plan = project.plan()
    project.edit(file)
    executor = FakeExecutor(project.write)
    code, cause, advice = _failure(project.run(executor, plan))
    assert executor.submitted == []
    assert code == 78
    assert cause == f"since the run was planned, these changed: {project.lab.folder / file}"
    assert "Run again" in advice


@pytest.mark.parametrize("file", ["mine.py", "data.txt"])
def test_run_of_what_changed_during_the_attempt_records_nothing(
    project: Project, file: str
) -> None:
    def edit_and_write(job: Job) -> int:
        project.edit(file)
        return project.write(job)

    executor = FakeExecutor(edit_and_write)
    code, cause, _ = _failure(project.run(executor))
    assert len(executor.submitted) == 1
    assert (code, str(project.lab.folder / file) in cause) == (78, True)
    project.edit_back(file)
    assert project.plan().stages["mine"].action is Action.RUN


@pytest.mark.parametrize(("file", "left"), [("mine.py", ["step-1"]), ("data.txt", [])])
def test_run_of_what_changed_between_attempts_makes_no_second(
    project: Project, file: str, left: list[str]
) -> None:
    def crash(job: Job) -> AttemptEnd:
        state = Path(project.lab.folder, "state", job.state_key)
        state.mkdir(parents=True)
        (state / "step-1").write_text("1")
        project.edit(file)
        return AttemptEnd(job.attempt_id, 1, 0, "crashed")

    executor = FakeExecutor(crash)
    outcome = project.run(executor)
    (job,) = executor.submitted
    assert _failure(outcome)[0] == 78
    # What was made while the data changed may be of both.
    assert project.lab.store.list(f"state/{job.state_key}") == left


def test_run_with_a_touched_file_and_a_new_comment_is_recorded(project: Project) -> None:
    def comment(job: Job) -> int:
        project.code.write_text(KIND.replace('"old"', '"old"  # why'))
        project.data.touch()
        return project.write(job)

    assert project.run(FakeExecutor(comment)).error is None
    assert project.plan().stages["mine"].action is Action.REUSE
