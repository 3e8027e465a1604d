"""`pipeline status`, `list` and `describe`: how runs and stages stand."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from pipeline.cli.options import Output, OutputFormat, RunId, StoreUrl

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Redraw until the run has ended.")]
StageOption = Annotated[
    str | None,
    typer.Argument(metavar="STAGE", help="A stage's address, or its name for all cells."),
]
_REDRAW_SECONDS = 1.0
_PIPE_WIDTH = 1000


def status(
    run_id: RunId = None,
    store: StoreUrl = None,
    watch: Watch = False,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Prints how the stages of a run stand."""
    from rich.console import Console
    from rich.live import Live

    from pipeline.cli.pace import Pace
    from pipeline.cli.session import find_run, open_store, until_interrupted
    from pipeline.cli.table import StageTable
    from pipeline.runner.run import current_state

    place = open_store(store)
    state = current_state(place, find_run(place, run_id))
    if output is Output.JSON:
        print(json.dumps(_document(state), indent=2))
        return
    print(_headline(state), flush=True)
    # Whoever reads from a pipe wants whole lines, whatever the terminal's width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    pace = Pace()
    table = StageTable(list(state.stages.values()), pace)
    if not (watch and sys.stdout.isatty()):
        while watch and state.status == "running":
            time.sleep(_REDRAW_SECONDS)
            state = current_state(place, state.run)
        # In a pipe a table that is drawn again and again helps nobody.
        console.print(StageTable(list(state.stages.values()), pace))
        return
    with until_interrupted(), Live(table, console=console, auto_refresh=False) as live:
        while state.status == "running":
            time.sleep(_REDRAW_SECONDS)
            state = current_state(place, state.run)
            live.update(StageTable(list(state.stages.values()), pace), refresh=True)


def list_(store: StoreUrl = None, output: OutputFormat = Output.TEXT) -> None:
    """Lists the runs of a store, the newest last."""
    from pipeline.cli.session import open_store
    from pipeline.errors import StoreError
    from pipeline.numbers import duration
    from pipeline.runner.journal import list_runs
    from pipeline.runner.run import current_state

    place = open_store(store)
    states = []
    for run in list_runs(place):
        try:
            states.append(current_state(place, run))
        except StoreError as error:
            print(f"{run}  cannot be read: {error}", file=sys.stderr)
    if output is Output.JSON:
        print(json.dumps([_document(state) for state in states], indent=2))
        return
    # Which store it was is for a person; who reads the lines wants runs alone.
    print(f"{len(states)} runs in {place.url}", file=sys.stderr)
    width = max((len(state.dag) for state in states), default=0)
    for state in states:
        counts = ", ".join(f"{n} {status}" for status, n in state.counts().items())
        took = duration(state.busy_seconds)
        # The id says when it began (UTC).
        print(f"{state.run}  {state.dag:{width}}  {state.status:11}  {took:>6}  {counts}")


def describe(
    run_id: RunId = None,
    stage: StageOption = None,
    store: StoreUrl = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Prints everything about a run, or about one stage of it: attempts, causes, artifacts."""
    from pipeline.cli.session import find_run, open_store
    from pipeline.errors import UserError
    from pipeline.runner.record import read_record
    from pipeline.runner.run import current_state

    place = open_store(store)
    state = current_state(place, find_run(place, run_id))
    chosen = [one for one in state.stages.values() if stage in (None, one.address)] or [
        one for one in state.stages.values() if one.address.startswith(f"{stage}[")
    ]
    if not chosen:
        msg = f"run {state.run} has no stage {stage!r}; it has {', '.join(state.stages)}"
        raise UserError(msg)
    record = read_record(place, state.run)
    if output is Output.JSON:
        document = {**_document(state), "record": record.model_dump(mode="json")}
        document["stages"] = {one.address: _stage(one) for one in chosen}
        print(json.dumps(document, indent=2))
        return
    if stage is None:
        _print_run(state, record)
    for one in chosen:
        _print_stage(one)


def _headline(state: Any) -> str:
    hint = f"  (pipeline resume {state.run} goes on)" if state.status in _RESUMABLE else ""
    return f"run {state.run}  {state.dag}  {state.status}{hint}"


_RESUMABLE = ("killed", "failed", "cancelled", "interrupted")


def _document(state: Any) -> dict[str, Any]:
    return {
        "run": state.run,
        "dag": state.dag,
        "status": str(state.status),
        "started": state.started,
        "ended": state.ended,
        "stages": {address: _stage(stage) for address, stage in state.stages.items()},
    }


def _stage(stage: Any) -> dict[str, Any]:
    from pipeline.runner.gpu_time import gpu_time

    fields = asdict(stage)
    spent = gpu_time(stage, time.time())
    fields["gpu_seconds"] = {"held": spent.held, "wasted": spent.wasted}
    fields["failure"] = stage.failure.model_dump(mode="json") if stage.failure else None
    return fields


def _print_run(state: Any, record: Any) -> None:
    from pipeline.numbers import moment

    print(_headline(state))
    print(f"  file      {record.request.file}")
    for name, value in (
        ("profile", record.request.profile),
        ("set", ", ".join(record.request.sets)),
        ("store", record.store),
        ("started", moment(record.started)),
        ("runner", f"{state.host} pid {state.pid}, session {state.session}"),
    ):
        if value:
            print(f"  {name:10}{value}")
    for checkout in record.code:
        dirty = f" with uncommitted changes {checkout.dirty[:12]}" if checkout.dirty else ""
        print(f"  code      {checkout.folder} at {checkout.commit[:12]}{dirty}")


def _print_stage(stage: Any) -> None:
    from pipeline.numbers import duration, moment
    from pipeline.runner.gpu_time import gpu_time
    from pipeline.runner.last_words import with_rank

    print(f"\n{stage.address}  {stage.status}  ({stage.kind}, {stage.launch})")
    print(f"  plan key  {stage.plan_key}")
    for reason in stage.reasons:
        print(f"  reason    {reason}")
    if stage.note and stage.failure is None:
        print(f"  note      {stage.note}")
    for attempt in stage.attempts:
        took = duration(attempt.ended - attempt.started) if attempt.ended else "not ended"
        how = (
            ""
            if attempt.exit_code is None
            else f", exit {attempt.exit_code} ({attempt.exit_class})"
        )
        step = "" if attempt.step is None else f", saved step {attempt.step}"
        print(f"  attempt {attempt.number}: {moment(attempt.started)}, {took}{how}{step}")
        if attempt.cause:
            print(f"    {with_rank(attempt.rank, attempt.cause)}")
        print(f"    folder {attempt.folder}")
    spent = gpu_time(stage, time.time())
    if spent.held:
        hours = f"{spent.held / 3600:.2f} GPU-hours, {spent.wasted / 3600:.2f} wasted"
        print(f"  held      {hours}")
    if stage.failure is not None:
        told = stage.attempts and stage.attempts[-1].cause == stage.failure.cause
        cause = "" if told else f": {stage.failure.cause}"
        print(f"  failed    {stage.failure.exit_name}{cause}")
        print(f"  log       {stage.failure.log}")
        print(f"  next      {stage.failure.advice}")
    for port, digest in stage.artifacts.items():
        print(f"  {port:9} {digest}")
