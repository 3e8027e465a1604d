"""`pipeline logs`: what the processes of a stage printed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import StoreUrl

StageName = Annotated[str, typer.Argument(metavar="STAGE", help="The stage's address.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its start.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")]
Rank = Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank.")]
AllRanks = Annotated[bool, typer.Option("--all-ranks", help="Every rank, one after the other.")]
AttemptNumber = Annotated[int | None, typer.Option("--attempt", min=1, help="Default the last.")]
_POLL_SECONDS = 0.5


def logs(
    run_id: RunName,
    stage: StageName,
    store: StoreUrl = None,
    follow: Follow = False,
    rank: Rank = None,
    all_ranks: AllRanks = False,
    attempt: AttemptNumber = None,
) -> None:
    """Prints the log of rank 0 and of the rank that failed first."""
    from pipeline.cli.session import find_run, open_store
    from pipeline.errors import UserError
    from pipeline.runner.journal import load_run
    from pipeline.spec.attempt import AttemptFolder

    place = open_store(store)
    state = load_run(place, find_run(place, run_id))
    if stage not in state.stages:
        msg = f"run {state.run} has no stage {stage!r}; it has {', '.join(state.stages)}"
        raise UserError(msg)
    attempts = [a for a in state.stages[stage].attempts if attempt in (None, a.number)]
    if not attempts:
        what = f"no attempt {attempt}" if attempt else "no attempt in this run"
        msg = f"{stage}: {what}, so no log; it is {state.stages[stage].status}"
        raise UserError(msg)
    chosen = attempts[-1]
    folder = AttemptFolder(Path(chosen.folder))
    if all_ranks:
        ranks = list(range(chosen.num_processes))
    else:
        ranks = [rank] if rank is not None else sorted({0, chosen.rank or 0})
    for number in ranks:
        if len(ranks) > 1:
            print(f"==> {stage} attempt {chosen.number} rank {number} <==")
        _print_file(folder.log(number))
    if follow:
        done = [folder.node_exit(0)]
        _follow(folder.log(ranks[-1]), until=done)


def _print_file(path: Path) -> None:
    try:
        with path.open(errors="replace") as file:
            for line in file:
                print(line, end="")
    except FileNotFoundError:
        print(f"(no log: {path})")


def _follow(path: Path, *, until: list[Path]) -> None:
    """Prints what is added to a log until one of the files `until` exists."""
    position = path.stat().st_size if path.exists() else 0
    ended = False
    while True:
        if path.exists():
            with path.open(errors="replace") as file:
                file.seek(position)
                if added := file.read():
                    print(added, end="", flush=True)
                position = file.tell()
        if ended:
            return
        ended = any(one.exists() for one in until)
        if not ended:
            time.sleep(_POLL_SECONDS)
