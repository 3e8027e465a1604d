"""`pipeline plan` and `explain`: what would run, and why."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import (
    AcceptCode,
    DagFile,
    Force,
    From,
    Only,
    Output,
    OutputFormat,
    ProfileName,
    SetValues,
    StoreUrl,
    Targets,
    Until,
    ValuesFiles,
)

if TYPE_CHECKING:
    from pipeline.planner.plan import Plan, PlannedStage
    from pipeline.storage import Store

_MAX_VALUE_WIDTH = 70
_LEAST_ROOM = 20
"""Characters that a column of reasons needs to be worth one."""

SOMETHING_TO_RUN = 1
"""What `plan --exit-code` ends with; 2 is taken, by a DAG that is wrong."""

ShowOrigin = Annotated[
    bool, typer.Option("--show-origin", help="Also every value and the layer it comes from.")
]
ExitCodeFlag = Annotated[
    bool, typer.Option("--exit-code", help="End with 1 when something would run.")
]
StageName = Annotated[
    str, typer.Argument(metavar="STAGE", help="A stage's address, or its name for all cells.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also the digests of its code.")]


def plan(
    dag: DagFile,
    stages: Targets = None,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
    store: StoreUrl = None,
    only: Only = None,
    from_: From = None,
    until: Until = None,
    force: Force = None,
    accept_code: AcceptCode = None,
    show_origin: ShowOrigin = False,
    exit_code: ExitCodeFlag = False,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Prints what `run` would do with each stage, and the reason; changes nothing."""
    from pipeline.cli.loading import load
    from pipeline.cli.session import open_store, workdir
    from pipeline.planner.make_plan import make_plan
    from pipeline.planner.plan import Action
    from pipeline.planner.selection import Selection

    selection = Selection.of(
        targets=stages,
        only=only,
        from_=from_,
        until=until,
        force=force,
        accept_code=accept_code,
    )
    loaded = load(dag, profile=profile, values=values, sets=set_)
    place = open_store(store, loaded)
    made = make_plan(loaded, place, selection, workdir=workdir())
    print_plan(made, place, output, show_origin=show_origin)
    would_run = (Action.RUN, Action.BLOCKED)
    if exit_code and any(one.action in would_run for one in made.stages.values()):
        raise typer.Exit(SOMETHING_TO_RUN)


def explain(
    dag: DagFile,
    stage: StageName,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
    store: StoreUrl = None,
    verbose: Verbose = False,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Prints what the key of one stage is made of, and what changed since its last result."""
    from pipeline.cli.loading import load
    from pipeline.cli.session import open_store, workdir
    from pipeline.planner.explain import explain as explain_stage
    from pipeline.planner.make_plan import make_plan
    from pipeline.planner.selection import Selection

    loaded = load(dag, profile=profile, values=values, sets=set_)
    place = open_store(store, loaded)
    made = make_plan(loaded, place, Selection(), workdir=workdir())
    cells = [a for a, planned in made.stages.items() if planned.stage.name == stage]
    addresses = [stage] if stage in made.stages or not cells else cells
    explained = [explain_stage(made, address, place) for address in addresses]
    if output is Output.JSON:
        documents = [one.as_json() for one in explained]
        print(json.dumps(documents[0] if addresses == [stage] else documents, indent=2))
    else:
        print("\n\n".join(one.as_text(verbose=verbose) for one in explained))


def print_plan(plan: Plan, store: Store, output: Output, *, show_origin: bool = False) -> None:
    """Prints a plan, as a table or as one JSON document; `store` knows what was saved."""
    from pipeline.cache.state import saved_steps
    from pipeline.planner.plan import Action

    if output is Output.JSON:
        print(json.dumps(_document(plan, show_origin=show_origin), indent=2))
        return
    to_run = [p for p in plan.stages.values() if p.action is Action.RUN and not p.forced]
    saved = saved_steps(store, [planned.plan_key for planned in to_run])
    rows = []
    for address, planned in plan.stages.items():
        reasons = [*planned.reasons]
        if planned in to_run and planned.plan_key in saved:
            reasons.append(f"goes on from step {saved[planned.plan_key]}")
        rows.append((address, str(planned.action), _needs(planned), "; ".join(reasons)))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    # Whoever reads from a pipe wants a line a stage.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        fields = [field.ljust(width) for field, width in zip(row[:3], widths, strict=True)]
        print(hanging("  ".join(fields) + "  ", row[3], width))
    counts: dict[str, int] = {}
    for planned in plan.stages.values():
        counts[planned.action] = counts.get(planned.action, 0) + 1
    print(f"{plan.dag.name}: " + ", ".join(f"{n} to {action}" for action, n in counts.items()))
    if show_origin:
        _print_origins(plan)


def hanging(head: str, text: str, width: int | None) -> str:
    """`head` and `text`, broken at `width` so that every line of the text stands below its first."""
    room = 0 if width is None else width - len(head)
    if room < _LEAST_ROOM:
        return f"{head}{text}".rstrip()
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * len(head)}".join([head + "".join(lines[:1]), *lines[1:]]).rstrip()


def _needs(planned: PlannedStage) -> str:
    resources = planned.stage.resources
    launch = planned.stage.spec.launch.value
    if launch == "gang":
        gpus = f" x {resources.gpus_per_node} GPU" if resources.gpus_per_node else ""
        return f"{resources.max_nodes} x {resources.ranks_per_node} ranks{gpus}"
    if launch == "workers":
        return f"{resources.workers} workers"
    if launch == "driver":
        return f"up to {getattr(planned.stage.config, 'max_cells', '?')} cells"
    return launch


def _print_origins(plan: Plan) -> None:
    from pipeline.spec.settings import settings_of

    rows: dict[tuple[str, str, str], None] = {}
    for planned in plan.stages.values():
        stage = planned.stage
        for path, setting in settings_of(stage).items():
            rows[f"stages.{stage.name}.{path}", setting.text, setting.origin] = None
    width = max((len(f"{path} = {value}") for path, value, _ in rows), default=0)
    print()
    for path, value, place in rows:
        print(f"{f'{path} = {value}'.ljust(min(width, _MAX_VALUE_WIDTH))}  {place}")


def _document(plan: Plan, *, show_origin: bool) -> dict[str, Any]:
    stages: dict[str, dict[str, Any]] = {}
    for address, planned in plan.stages.items():
        stages[address] = {
            "kind": planned.stage.kind,
            "launch": planned.stage.spec.launch.value,
            "action": planned.action.value,
            "reasons": list(planned.reasons),
            "plan_key": planned.plan_key,
            "artifacts": dict(planned.artifacts),
            "needs": _needs(planned),
        }
        if show_origin:
            stages[address]["origins"] = {
                path: vars(origin) for path, origin in planned.stage.origins.items()
            }
    return {"dag": plan.dag.name, "stages": stages}
