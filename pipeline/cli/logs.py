"""`pipeline logs`: what the processes of a stage printed."""

from __future__ import annotations

import codecs
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import StoreUrl

if TYPE_CHECKING:
    from pipeline.storage import Store

StageName = Annotated[str, typer.Argument(metavar="STAGE", help="The stage's address.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its start.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")]
Rank = Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank.")]
AllRanks = Annotated[bool, typer.Option("--all-ranks", help="Every rank, one after the other.")]
AttemptNumber = Annotated[int | None, typer.Option("--attempt", min=1, help="Default the last.")]
_POLL_SECONDS = 0.5
_PIECE_BYTES = 1 << 20


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
        log = _Log(folder.log(number))
        if not log.print_new() and not follow:
            print(f"(no log: {folder.log(number)})")
        while follow and number == ranks[-1]:
            goes_on = _goes_on(place, state.run, stage, chosen.number)
            log.print_new()
            if not goes_on:
                break
            time.sleep(_POLL_SECONDS)


class _Log:
    """A log file that may still grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def print_new(self) -> bool:
        """Prints what was added since the last time; False when there is no such file."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                while added := file.read(_PIECE_BYTES):
                    print(self._decoder.decode(added), end="")
                self._position = file.tell()
        except FileNotFoundError:
            return False
        sys.stdout.flush()
        return True


def _goes_on(store: Store, run: str, stage: str, attempt: int) -> bool:
    """Whether an attempt is still at work; not when its runner was killed, for then it was too."""
    from pipeline.runner.run import current_state
    from pipeline.runner.state import StageStatus

    found = current_state(store, run).stages.get(stage)
    return (
        found is not None
        and found.status in (StageStatus.RUNNING, StageStatus.WAITING)
        and found.attempts[-1].number == attempt
        and found.attempts[-1].ended is None
    )
