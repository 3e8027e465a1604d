"""`pipeline cache ls|verify|gc`: what a store holds, whether it is intact, what may go."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from pipeline.cli.options import Output, OutputFormat, StoreUrl

cache = typer.Typer(
    help="Lists, verifies and cleans what was computed.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Days = Annotated[
    float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Also unused results.")
]
MaxSize = Annotated[
    str | None, typer.Option("--max-size", metavar="SIZE", help="Also the least used, e.g. 20GiB.")
]
All = Annotated[bool, typer.Option("--all", help="Do not spare each stage's last result.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would go.")]


@cache.command("ls")
def list_cache(store: StoreUrl = None, output: OutputFormat = Output.TEXT) -> None:
    """Lists every result with its size, last use and stage."""
    from pipeline.cache.inventory import list_results
    from pipeline.cli.session import open_store
    from pipeline.numbers import moment, size

    found = list_results(open_store(store))
    if output is Output.JSON:
        rows = [
            {
                "stage": one.result.stage,
                "kind": one.result.kind,
                "plan_key": one.result.plan_key,
                "artifacts": one.result.artifacts,
                "bytes": one.num_bytes,
                "used": one.used,
                "problem": one.problem,
            }
            for one in found
        ]
        print(json.dumps(rows, indent=2))
        return
    for one in found:
        problem = f"  DAMAGED: {one.problem}" if one.problem else ""
        print(
            f"{one.result.stage} ({one.result.kind}), {size(one.num_bytes)}, "
            f"used {moment(one.used)}{problem}"
        )
        for port, digest in one.result.artifacts.items():
            print(f"  {digest[:12]}  {port}")
    total = size(sum(one.num_bytes for one in found))
    print(f"{len(found)} results, {total}; `pipeline peek DIGEST` shows one")


@cache.command("verify")
def verify_cache(store: StoreUrl = None) -> None:
    """Reads every artifact in full and compares it with its digests."""
    from pipeline.cache.inventory import verify_artifacts
    from pipeline.cli.session import open_store
    from pipeline.errors import StageFailed
    from pipeline.numbers import size

    place = open_store(store)
    count, total, damaged = 0, 0, 0
    for verdict in verify_artifacts(place):
        count, total = count + 1, total + verdict.num_bytes
        if verdict.problem is not None:
            damaged += 1
            print(f"DAMAGED {verdict.digest}: {verdict.problem}")
    print(f"{count} artifacts, {size(total)} read, {damaged} damaged")
    if damaged:
        msg = f"{damaged} artifacts in {place.url} are damaged; the next run makes them again"
        raise StageFailed(msg)


@cache.command("gc")
def clean_cache(
    store: StoreUrl = None,
    older_than: Days = None,
    max_size: MaxSize = None,
    all_: All = False,
    dry_run: DryRun = False,
) -> None:
    """Removes what nothing refers to any more, and on request results that were not used."""
    from pipeline.cache.gc import Policy, num_young, plan_removals, remove
    from pipeline.cli.session import open_store
    from pipeline.numbers import size

    place = open_store(store)
    policy = Policy(
        max_age_seconds=None if older_than is None else older_than * 86400,
        max_bytes=None if max_size is None else _num_bytes(max_size),
        keep_latest=not all_,
    )
    now = time.time()
    removals = plan_removals(place, policy, now=now)
    done = removals if dry_run else remove(place, removals, now=now)
    count, total = 0, 0
    for one in done:
        count, total = count + 1, total + one.num_bytes
        print(f"{one.kind:10}{size(one.num_bytes):>10}  {one.key}: {one.reason}")
    young = num_young(place, now=now)
    kept = f"; {young} artifacts younger than an hour are kept" if young else ""
    print(f"{count} {'would go' if dry_run else 'removed'}, {size(total)}{kept}")


def _num_bytes(text: str) -> int:
    from pipeline.spec.resources import num_bytes

    try:
        return num_bytes(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--max-size") from exc
