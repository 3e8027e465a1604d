"""A driver's cells: planned, cached and journaled as stages are, and the same after any kill."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from pipeline.cache.artifacts import Artifacts
from pipeline.executors.base import AttemptEnd, Capacity
from pipeline.executors.fake import FakeExecutor
from pipeline.planner.digests import Digests
from pipeline.planner.keys import planned_stage
from pipeline.planner.make_plan import make_plan
from pipeline.planner.plan import Plan
from pipeline.planner.selection import Selection
from pipeline.runner.journal import list_runs, load_run
from pipeline.runner.outcome import RunOutcome
from pipeline.runner.state import RunState, StageStatus
from pipeline.spec.dag import Stage
from pipeline.spec.job import Job
from pipeline.spec.ports import SCORES
from pipeline.spec.resources import EngineConfig, Resources
from tests.builders import load
from tests.runner import bandit
from tests.runner.lab import RETRY, Lab

FILE = Path(bandit.__file__)
CELL = """
from pipeline.spec.config import StageConfig
from pipeline.spec.ports import SCORES
from pipeline.spec.stage import StageSpec

def run(ctx):
    pass

CELL = StageSpec(name="c", config=StageConfig, run="cell:run", outputs={"scores": SCORES})
BELOW = StageSpec(
    name="b", config=StageConfig, run="cell:run", inputs={"scores": SCORES}, outputs={"scores": SCORES}
)
"""
DRIVER = """
from pipeline.spec.driver import Cell, CellOutput, Done, DriverConfig
from pipeline.spec.ports import SCORES
from pipeline.spec.stage import Launch, StageSpec

def next_cells(config, history):
    done = Done({"best": CellOutput("one", "scores")})
    return done if history else [Cell("one", "./cell.py:CELL", {})]

DRIVER = StageSpec(
    name="d", config=DriverConfig, run="driver:next_cells", outputs={"best": SCORES}, launch=Launch.DRIVER
)
"""


class Study:
    """One bandit in a laboratory."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.pulled: list[int] = []

    def plan(self, **config: Any) -> Plan:
        stage = Stage(
            address="study",
            name="study",
            matrix={},
            kind=f"{FILE}:BANDIT",
            spec=bandit.BANDIT,
            config=bandit.BanditConfig(**{"max_cells": 12, **config}),
            inputs={},
            resources=Resources(),
            engine=EngineConfig(),
            retry=RETRY,
            seed=0,
        )
        with Digests(self.lab.folder) as digests:
            planned = planned_stage(stage, {}, digests)
        return Plan(dag=self.lab.dag({"study": stage}), stages={"study": planned})

    def write(self, job: Job) -> int:
        """What the cell's worker does."""
        artifacts = Artifacts(self.lab.store)
        config = bandit.PullConfig.model_validate(job.config)
        self.pulled.append(config.number)
        value = bandit.reward(config.arm, config.number)
        out = artifacts.staging(job.plan_key, job.attempt_id, "scores")
        (out / "scores.json").write_text(json.dumps({"reward": value}))
        artifacts.write_part(job.plan_key, job.attempt_id, {"scores": SCORES})
        return 0

    def run(self, executor: Any = None, resume_run: str = "", **config: Any) -> RunOutcome:
        executor = executor or FakeExecutor(self.write)
        return self.lab.run(self.plan(**config), executor, resume_run=resume_run)

    def table(self, state: RunState) -> Any:
        folder = Artifacts(self.lab.store).open(state.stages["study"].artifacts["table"])
        return json.loads((folder / "table.json").read_text())["rows"]


class LastFirst(FakeExecutor):
    """Ends the attempt that was submitted last, so cells finish out of order."""

    @override
    def wait(self, timeout_seconds: float) -> Sequence[AttemptEnd]:
        self.running = dict(reversed(self.running.items()))
        return super().wait(timeout_seconds)


@pytest.fixture
def study(lab: Lab) -> Study:
    return Study(lab)


def test_driver_runs_its_cells_and_ends_with_their_best(study: Study) -> None:
    outcome = study.run()
    assert outcome.error is None
    rows = study.table(outcome.state)
    assert len(rows) == 12
    arms = [row[1] for row in rows]
    assert arms.count(1) > 5
    best = max(rows, key=lambda row: row[2])[0]
    cell = outcome.state.stages[f"study/{best}"]
    assert cell.artifacts["scores"] == outcome.state.stages["study"].artifacts["best"]
    assert load_run(study.lab.store, outcome.state.run) == outcome.state


def test_driver_proposes_the_same_whatever_ends_first(study: Study, tmp_path: Path) -> None:
    first = study.table(study.run(side_by_side=4).state)
    other = Study(Lab(tmp_path / "other"))
    assert other.table(other.run(LastFirst(other.write), side_by_side=4).state) == first
    assert other.pulled != study.pulled


def test_driver_second_run_asks_again_and_runs_nothing(study: Study) -> None:
    first = study.run().state.stages["study"].artifacts
    study.pulled.clear()
    state = study.run().state
    assert state.counts() == {"done": 1, "reused": 12}
    assert state.stages["study"].artifacts == first
    assert study.pulled == []


def test_driver_whose_cells_changed_runs_them_and_what_is_below(lab: Lab, tmp_path: Path) -> None:
    for name in ("driver.py", "cell.py"):
        (tmp_path / name).write_text(CELL if name == "cell.py" else DRIVER)
    dag = """
        name: two-files
        stages:
          study: {uses: './driver.py:DRIVER', with: {max_cells: 1}}
          below: {uses: './cell.py:BELOW', inputs: {scores: study.best}}
        """
    ran: list[str] = []

    def write(job: Job) -> int:
        artifacts = Artifacts(lab.store)
        out = artifacts.staging(job.plan_key, job.attempt_id, "scores")
        (out / "scores.json").write_text(json.dumps({"reward": len(ran)}))
        artifacts.write_part(job.plan_key, job.attempt_id, {"scores": SCORES})
        ran.append(job.stage)
        return 0

    def run() -> RunState:
        plan = make_plan(load(tmp_path, dag), lab.store, Selection(), workdir=tmp_path)
        assert not plan.stages["study"].artifacts
        return lab.run(plan, FakeExecutor(write)).state

    first = run()
    assert ran == ["study/one", "below"]
    assert run().counts() == {"done": 1, "reused": 2}
    (tmp_path / "cell.py").write_text(CELL.replace("pass", "return"))
    ran.clear()
    ran.append("so that the scores differ")
    second = run()
    assert ran[1:] == ["study/one", "below"]
    (tmp_path / "cell.py").write_text(CELL)
    third = run()
    assert ran[3:] == []
    for address in ("study", "study/one", "below"):
        assert third.stages[address].artifacts == first.stages[address].artifacts, address
        assert second.stages[address].artifacts != first.stages[address].artifacts, address


def test_driver_second_study_that_shares_cells_runs_only_the_new(study: Study) -> None:
    study.run(max_cells=8)
    study.pulled.clear()
    outcome = study.run(max_cells=10)
    assert outcome.error is None
    assert len(study.pulled) < 4
    assert outcome.state.counts()["reused"] >= 7


@pytest.mark.parametrize("kill_at", [0, 1, 4, 9])
def test_driver_killed_and_resumed_gives_the_same_study(
    study: Study, tmp_path: Path, kill_at: int
) -> None:
    undisturbed = Study(Lab(tmp_path / "undisturbed"))
    expected = undisturbed.run().state.stages["study"].artifacts

    def die(job: Job) -> int:
        if len(study.pulled) == kill_at:
            raise KeyboardInterrupt
        return study.write(job)

    with pytest.raises(KeyboardInterrupt):
        study.run(FakeExecutor(die))
    (run_id,) = list_runs(study.lab.store)
    outcome = study.run(resume_run=run_id)
    assert outcome.error is None
    assert outcome.state.stages["study"].artifacts == expected
    assert len(study.pulled) == len(set(study.pulled)) == len(undisturbed.pulled)


def test_driver_cell_with_bad_data_is_part_of_the_history(study: Study) -> None:
    def fail_second(job: Job) -> int:
        return 65 if job.config["number"] == 1 else study.write(job)

    outcome = study.run(FakeExecutor(fail_second))
    assert outcome.error is None
    assert outcome.state.stages["study/pull-1"].status is StageStatus.FAILED
    assert study.table(outcome.state)[1] == ["pull-1", 1, None]


def test_driver_cell_that_crashes_for_good_ends_the_driver(study: Study) -> None:
    def crash_second(job: Job) -> int:
        return 1 if job.config["number"] == 1 else study.write(job)

    outcome = study.run(FakeExecutor(crash_second))
    assert "study: 1 crashed: cell pull-1: exit 1" in str(outcome.error)
    assert outcome.state.stages["study"].status is StageStatus.FAILED


@pytest.mark.parametrize(
    ("misbehave", "cause"),
    [
        ("idle", "next_cells is not done and asks for nothing after 2 results"),
        ("crash", r"next_cells: .*bandit\.py:\d+: RuntimeError: no idea"),
        ("greedy", "cell pull-3: one more than max_cells=3"),
        ("twice", "cell same: proposed twice"),
        ("kind", r"cell pull-0: .*nothing\.py cannot be read"),
        ("forgets", r"Done gives \['best'\], the outputs are \['best', 'table'\]"),
    ],
)
def test_driver_that_breaks_its_contract_fails_with_the_cause(
    study: Study, misbehave: str, cause: str
) -> None:
    max_cells = 3 if misbehave == "greedy" else 12
    state = study.run(misbehave=misbehave, max_cells=max_cells).state
    failure = state.stages["study"].failure
    assert failure is not None
    assert re.match(cause, failure.cause), failure.cause


def test_driver_that_fails_takes_its_waiting_cells_with_it(study: Study) -> None:
    lab, plan = study.lab, study.plan(misbehave="crash later", side_by_side=4)
    state = lab.run(plan, FakeExecutor(study.write), jobs=1, keep_going=True).state
    assert study.pulled == [0]
    assert state.counts() == {"failed": 1, "done": 1, "blocked": 3}
    study.pulled.clear()
    # The first cell is reused this time, and its driver fails while the others get ready.
    again = lab.run(plan, FakeExecutor(study.write), jobs=1, keep_going=True).state
    assert study.pulled == []
    assert again.counts() == {"failed": 1, "reused": 1, "blocked": 3}


def test_driver_cell_that_never_fits_fails_the_driver(study: Study) -> None:
    executor = FakeExecutor(study.write, Capacity(cpus=0, memory_bytes=None, gpus=0))
    outcome = study.run(executor)
    assert "cell pull-0: needs 1 CPUs, this machine has 0" in str(outcome.error)


def test_driver_stopped_while_cells_run_goes_on_later(study: Study) -> None:
    def stop_third(job: Job) -> int | None:
        if job.config["number"] == 2:
            study.lab.cancellation.request()
            return None
        return study.write(job)

    outcome = study.run(FakeExecutor(stop_third))
    assert outcome.state.stages["study"].status is StageStatus.CANCELLED
    study.lab.cancellation.requests = 0
    assert study.run(resume_run=outcome.state.run).error is None
