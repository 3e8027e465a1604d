"""`pipeline run`, `resume` and `retry`."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.monitoring import (
    SECRET_VARIABLE,
    MetricsLinger,
    MetricsPort,
    Monitoring,
    WebhookSecret,
    WebhookUrl,
)
from pipeline.cli.options import (
    AcceptCode,
    DagFile,
    Force,
    From,
    On,
    Only,
    Output,
    OutputFormat,
    ProfileName,
    RunId,
    SetValues,
    StoreUrl,
    Targets,
    Until,
    ValuesFiles,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.executors.base import Executor
    from pipeline.planner.plan import Plan
    from pipeline.planner.selection import Selection
    from pipeline.runner.outcome import RunOutcome
    from pipeline.runner.record import Request
    from pipeline.runner.state import RunState
    from pipeline.spec.dag import Dag
    from pipeline.storage import Store

_log = logging.getLogger(__name__)

Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Stages side by side at most.")
]
KeepGoing = Annotated[
    bool,
    typer.Option("--keep-going", "-k", help="After a failure, go on with what does not need it."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a work tree with uncommitted changes.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Plan only.")]
Detach = Annotated[
    bool, typer.Option("--detach", help="Puts the runner into the cluster; see `pipeline attach`.")
]
StageArgument = Annotated[
    str | None,
    typer.Argument(metavar="STAGE", help="The stage to try again; default all failed."),
]


def run(
    dag: DagFile,
    stages: Targets = None,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
    on: On = None,
    store: StoreUrl = None,
    only: Only = None,
    from_: From = None,
    until: Until = None,
    force: Force = None,
    accept_code: AcceptCode = None,
    jobs: Jobs = None,
    keep_going: KeepGoing = False,
    strict: Strict = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    metrics_port: MetricsPort = None,
    metrics_linger: MetricsLinger = 0.0,
    webhook: WebhookUrl = None,
    webhook_secret_from: WebhookSecret = SECRET_VARIABLE,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Plans a DAG, and runs what is not there yet."""
    from pipeline.cli.loading import read_request
    from pipeline.planner.selection import Selection

    selection = Selection.of(
        targets=stages,
        only=only,
        from_=from_,
        until=until,
        force=force,
        accept_code=accept_code,
    )
    request = read_request(
        dag,
        profile=profile,
        values=values,
        sets=[*(set_ or ()), *([f"on={on}"] if on else ())],
        selection=selection,
        jobs=jobs,
        keep_going=keep_going,
    )
    if detach and not dry_run:
        from pipeline.cli.attach import detach as put_into_cluster
        from pipeline.cli.loading import load_request
        from pipeline.errors import UserError

        if strict or webhook:
            msg = (
                "--strict and --webhook do not go into the cluster: it has no work tree, and a "
                "webhook's secret is none of the Job's. Leave them out with --detach."
            )
            raise UserError(msg)
        options = {"--only": only, "--from": from_, "--until": until, "--force": force}
        options |= {"--accept-code": accept_code, "--store": [store] if store else None}
        options |= {"--jobs": [str(jobs)] if jobs else None}
        again = [
            text for name, given in options.items() for one in given or () for text in (name, one)
        ]
        again += ["--keep-going"] if keep_going else []
        again += ["--metrics-linger", str(metrics_linger)] if metrics_linger else []
        put_into_cluster(request, load_request(request), [*(stages or ()), *again], store)
        return
    monitoring = Monitoring(metrics_port, metrics_linger, webhook, webhook_secret_from)
    _start(request, selection, store, monitoring, strict=strict, dry_run=dry_run, output=output)


def resume(
    run_id: RunId = None,
    store: StoreUrl = None,
    metrics_port: MetricsPort = None,
    metrics_linger: MetricsLinger = 0.0,
    webhook: WebhookUrl = None,
    webhook_secret_from: WebhookSecret = SECRET_VARIABLE,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Goes on with all that is left of a run, with the file and settings it began with.

    After a change of the DAG file, `pipeline run` it again instead: what is done stays done.
    """
    monitoring = Monitoring(metrics_port, metrics_linger, webhook, webhook_secret_from)
    _again(run_id, store, output, monitoring)


def retry(
    run_id: RunId = None,
    stage: StageArgument = None,
    store: StoreUrl = None,
    metrics_port: MetricsPort = None,
    metrics_linger: MetricsLinger = 0.0,
    webhook: WebhookUrl = None,
    webhook_secret_from: WebhookSecret = SECRET_VARIABLE,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Tries what failed in a run again and what that blocked, or only STAGE.

    Attempts are counted from the start. What was not reached for other reasons is left to resume.
    """
    monitoring = Monitoring(metrics_port, metrics_linger, webhook, webhook_secret_from)
    _again(run_id, store, output, monitoring, lambda state: [stage] if stage else _failed(state))


def _failed(state: RunState) -> list[str]:
    """The stages of the DAG that failed or are blocked; cells of a driver are its own matter."""
    from pipeline.errors import UserError
    from pipeline.runner.state import StageStatus

    ended = (StageStatus.FAILED, StageStatus.BLOCKED)
    failed = [a for a, one in state.stages.items() if one.status in ended and not one.driver]
    if not failed:
        msg = f"in run {state.run} nothing failed; `pipeline resume {state.run}` goes on with it"
        raise UserError(msg)
    return failed


def _start(
    request: Request,
    selection: Selection,
    url: str | None,
    monitoring: Monitoring,
    *,
    strict: bool,
    dry_run: bool,
    output: Output,
) -> None:
    from pipeline.cli.loading import load_request
    from pipeline.cli.plan import print_plan
    from pipeline.cli.session import open_store, remember_store, workdir
    from pipeline.planner.make_plan import make_plan
    from pipeline.runner.record import make_record
    from pipeline.runner.run import run as run_plan

    loaded = load_request(request)
    place = open_store(url, loaded)
    _prepare(loaded, place)
    plan = make_plan(loaded, place, selection, workdir=workdir())
    if dry_run:
        print_plan(plan, place, output)
        return
    place.check_writable()
    remember_store(place)
    record = make_record(loaded, place, request, strict=strict)
    watched = partial(run_plan, record=record)
    _watched(watched, plan, place, request, output, monitoring)


def _again(
    run_id: str | None,
    url: str | None,
    output: Output,
    monitoring: Monitoring,
    narrow: Callable[[RunState], list[str]] | None = None,
) -> None:
    from pipeline.cli.loading import load_request
    from pipeline.cli.session import find_run, open_store, workdir
    from pipeline.planner.make_plan import make_plan
    from pipeline.planner.selection import Selection
    from pipeline.runner.journal import load_run
    from pipeline.runner.record import read_record
    from pipeline.runner.run import resume as resume_plan

    place = open_store(url)
    found = find_run(place, run_id)
    request = read_record(place, found).request
    _tell_of_changes(found, request)
    loaded = load_request(request)
    _prepare(loaded, place)
    state = load_run(place, found)
    selection = Selection.from_record(request.selection)
    if narrow is not None:
        selection = selection.narrowed_to(narrow(state))
    done = [address for address, one in state.stages.items() if one.succeeded]
    plan = make_plan(loaded, place, selection.after(done), workdir=workdir())
    watched = partial(resume_plan, run_id=found)
    _watched(watched, plan, place, request, output, monitoring)


def _tell_of_changes(run: str, request: Request) -> None:
    """Whoever edited the file and resumes would wait for what never comes."""
    from pipeline.cli.loading import changed_files

    for file in changed_files(request):
        print(
            f"{file} changed since run {run} began; its old settings are used here. "
            f"`pipeline run {request.file}` takes the new ones and goes on from what is done.",
            file=sys.stderr,
        )


def _prepare(dag: Dag, store: Store) -> None:
    if dag.on == "kubernetes":
        from pipeline.cli.cluster import prepare_store

        prepare_store(dag, store)


def _executor(dag: Dag) -> Executor:
    from pipeline.errors import UserError
    from pipeline.executors.local.executor import LocalExecutor

    if dag.on == "kubernetes":
        from pipeline.cli.cluster import kubernetes_executor

        return kubernetes_executor(dag)
    if dag.on != "local":
        msg = f"on: {dag.on}: there is `local` and `kubernetes`"
        raise UserError(msg)
    names = {s.name: None for s in dag.stages.values() if s.resources.shm or s.resources.disk}
    if names:
        _log.warning(
            "resources.shm and resources.disk are a pod's; here stages share what the machine has "
            "(set in %s)",
            ", ".join(names),
        )
    return LocalExecutor()


def _watched(
    run: Callable[..., RunOutcome],
    plan: Plan,
    store: Store,
    request: Request,
    output: Output,
    monitoring: Monitoring,
) -> None:
    """Runs a plan in front of the user, and ends as the run did."""
    from pipeline.cli.display import choose_display
    from pipeline.cli.results import print_results
    from pipeline.cli.session import workdir
    from pipeline.runner.cancel import cancel_on_signals
    from pipeline.runner.outcome import Listeners, RunOptions

    outlives = plan.dag.on == "kubernetes"
    options = RunOptions(
        workdir(),
        jobs=request.jobs,
        keep_going=request.keep_going,
        # Pods keep the attempts' folders in the store, where it is one that this machine sees.
        attempts=store.local_path() if outlives else None,
    )
    grace = options.grace_seconds
    with monitoring.listeners(grace_seconds=grace, is_local=not outlives) as others:
        executor = _executor(plan.dag)
        signals = cancel_on_signals(outliving=outlives)
        with choose_display(output) as display, signals as cancellation:
            told = Listeners([display, *others])
            outcome = run(plan, store, executor, options, listener=told, cancellation=cancellation)
        if output is Output.TEXT:
            print_results(outcome.state, store)
    if outcome.error is not None:
        raise outcome.error
