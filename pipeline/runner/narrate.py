"""Events made of what the runner knows at the moment."""

from pathlib import Path
from typing import Literal

from pipeline.executors.base import AttemptEnd
from pipeline.metrics.progress import read_progress
from pipeline.metrics.recorder import PROGRESS_FILE
from pipeline.planner.plan import Plan
from pipeline.runner import events as ev
from pipeline.runner.drivers import Proposal
from pipeline.runner.retry import ExitClass, GiveUp, advice, exit_name
from pipeline.runner.state import StageState
from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.job import Job


def planned_event(plan: Plan) -> ev.StagesPlanned:
    """The plan as the journal keeps it."""
    return ev.StagesPlanned(
        stages=tuple(
            ev.PlannedEntry(
                stage=address,
                kind=planned.stage.kind,
                launch=planned.stage.spec.launch.value,
                plan_key=planned.plan_key,
                action=planned.action.value,
                reasons=planned.reasons,
                upstream=tuple(planned.stage.upstream),
                artifacts=dict(planned.artifacts),
                max_attempts=planned.stage.retry.max_attempts,
            )
            for address, planned in plan.stages.items()
        )
    )


def started_event(
    job: Job,
    *,
    outlives: bool = False,
    how: Literal["submitted", "adopted", "restarted"] = "submitted",
) -> ev.AttemptStarted:
    """An attempt that is about to be handed to the executor, or goes on in another way."""
    return ev.AttemptStarted(
        stage=job.stage,
        attempt=job.attempt,
        attempt_id=job.attempt_id,
        content_key=job.content_key,
        folder=job.folder,
        nodes=job.nodes,
        processes_per_node=job.processes_per_node,
        gpus=job.nodes * job.gpus_per_node,
        outlives=outlives,
        how=how,
    )


def ended_event(
    job: Job, end: AttemptEnd, exit_class: ExitClass, step: int | None
) -> ev.AttemptEnded:
    """How an attempt ended; `step` is that of its newest checkpoint."""
    progress = read_progress(Path(job.folder) / PROGRESS_FILE)
    return ev.AttemptEnded(
        stage=job.stage,
        attempt=job.attempt,
        exit_code=end.exit_code,
        exit_class=exit_class.value,
        rank=end.rank,
        cause=end.cause,
        step=step,
        reached=None if progress is None else progress.step,
    )


def failed_event(stage: StageState, verdict: GiveUp, rank: int | None) -> ev.StageFailed:
    """What is told of a stage that gets no further attempt."""
    log = ""
    if stage.attempts:
        folder = AttemptFolder(Path(stage.attempts[-1].folder))
        log = str(folder.log(0).parent if rank is None else folder.log(rank))
    return ev.StageFailed(
        stage=stage.address,
        attempt=len(stage.attempts),
        rank=rank,
        exit_code=verdict.exit_code,
        exit_name=exit_name(verdict.exit_code),
        cause=verdict.cause,
        log=log,
        advice=verdict.advice or advice(verdict.exit_code, verdict.cause),
    )


def proposed_event(address: str, proposal: Proposal) -> ev.CellsProposed:
    """A proposal as the journal keeps it."""
    return ev.CellsProposed(
        stage=address,
        history=proposal.history,
        cells=tuple(
            ev.ProposedCell(
                name=name,
                address=planned.stage.address,
                kind=planned.stage.kind,
                plan_key=planned.plan_key,
            )
            for name, planned in proposal.cells
        ),
    )
