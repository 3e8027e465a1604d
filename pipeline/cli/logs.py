"""`pipeline logs`: what the processes of a stage printed."""

from __future__ import annotations

import codecs
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from pipeline.cli.options import StoreUrl

if TYPE_CHECKING:
    from pipeline.executors.kubernetes.client import Cluster
    from pipeline.runner.state import AttemptState, StageState
    from pipeline.storage import Store

StageName = Annotated[str, typer.Argument(metavar="STAGE", help="The stage's address.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, its start or end, or `latest`.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")]
Rank = Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank.")]
AllRanks = Annotated[bool, typer.Option("--all-ranks", help="Every rank.")]
AttemptNumber = Annotated[int | None, typer.Option("--attempt", min=1, help="Default the last.")]
_POLL_SECONDS = 0.5
_POD_SECONDS = 30.0


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
    if all_ranks:
        ranks = list(range(chosen.num_processes))
    else:
        ranks = [rank] if rank is not None else sorted({0, chosen.rank or 0})
    finder = _Finder(place, state.run, state.stages[stage], chosen, follow=follow)
    sources = {number: finder.source(number) for number in ranks}
    titles = {n: f"==> {stage} attempt {chosen.number} rank {n} <==" for n in ranks}
    printer = _Printer(titles if len(ranks) > 1 else {})
    for number, source in sources.items():
        if not printer.print_new(number, source) and not follow:
            print(f"(no log: {source.name})")
    while follow:
        # Looked at before the logs: what is printed until the end is printed here.
        goes_on = _goes_on(place, state.run, stage, chosen.number)
        for number, source in sources.items():
            printer.print_new(number, source)
        if not goes_on:
            break
        time.sleep(_POLL_SECONDS)


class _Source(Protocol):
    """Where a log comes from."""

    name: str

    def take(self) -> bytes | None:
        """What was added since the last time; None when there is no such log."""


class _Printer:
    """Prints pieces of several logs, with a title where another one goes on."""

    def __init__(self, titles: dict[int, str]) -> None:
        self._titles = titles
        self._last: int | None = None
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    def print_new(self, rank: int, source: _Source) -> bool:
        """Prints what was added since the last time; False when there is no such log."""
        is_first = rank not in self._decoders
        decoder = self._decoders.setdefault(
            rank, codecs.getincrementaldecoder("utf-8")(errors="replace")
        )
        added = source.take()
        text = decoder.decode(added or b"")
        if rank in self._titles and rank != self._last and (text or is_first):
            print(self._titles[rank])
            self._last = rank
        print(text, end="")
        sys.stdout.flush()
        return added is not None


class _FileLog:
    """A log file that may still grow."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._position = 0

    def take(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                added = file.read()
                self._position = file.tell()
        except FileNotFoundError:
            return None
        return added


class _StoredLog:
    """A log that a pod has put into an object store, where it is replaced now and then."""

    def __init__(self, store: Store, key: str) -> None:
        self.name = f"{store.url}/{key}"
        self._store = store
        self._key = key
        self._position = 0

    def take(self) -> bytes | None:
        try:
            added = self._store.read(self._key)[self._position :]
        except KeyError:
            return None
        self._position += len(added)
        return added


class _Finder:
    """Where the logs of an attempt's ranks are: here, else in its pods, else in the store."""

    def __init__(
        self, store: Store, run: str, stage: StageState, attempt: AttemptState, *, follow: bool
    ) -> None:
        self._store = store
        self._run = run
        self._stage = stage
        self._attempt = attempt
        self._follow = follow
        self._cluster: Cluster | None = None

    def source(self, rank: int) -> _Source:
        from pipeline.spec.attempt import AttemptFolder

        path = AttemptFolder(Path(self._attempt.folder)).log(rank)
        if not self._attempt.outlives or path.exists():
            return _FileLog(path)
        if self._attempt.ended is None and (live := self._pod_log(rank)) is not None:
            return live
        return self._stored(path)

    def _stored(self, path: Path) -> _Source:
        if self._store.local_path() is not None:
            return _FileLog(path)
        # The attempt's folder has the same place below `runs/` there as here.
        return _StoredLog(self._store, path.as_posix()[path.as_posix().rindex("/runs/") + 1 :])

    def _pod_log(self, rank: int) -> _Source | None:
        from pipeline.errors import InfrastructureError
        from pipeline.executors.kubernetes.logs import pod_of_rank

        restart = re.search(r"\.([0-9]+)$", self._attempt.folder)
        try:
            self._cluster = self._cluster or self._connect()
            pod = pod_of_rank(
                self._cluster,
                self._stage.plan_key,
                self._attempt.attempt_id,
                rank=rank,
                restarts=int(restart[1]) if restart else 0,
            )
        except InfrastructureError as exc:
            print(f"(not from the pod: {exc})", file=sys.stderr)
            return None
        return _LiveLog(self._cluster, pod, rank, follow=self._follow) if pod else None

    def _connect(self) -> Cluster:
        from pipeline.cli.cluster import connect
        from pipeline.cli.loading import load_request
        from pipeline.runner.record import read_record

        dag = load_request(read_record(self._store, self._run).request)
        return connect(dag.cluster.namespace, patience_seconds=10.0)


class _LiveLog:
    """A rank's lines, out of its pod."""

    def __init__(self, cluster: Cluster, pod: str, rank: int, *, follow: bool) -> None:
        from pipeline.executors.kubernetes.logs import PodLog

        self.name = f"pod {pod}"
        self._log = PodLog(cluster, pod, rank, follow=follow)
        if not follow:
            self._log.wait(_POD_SECONDS)

    def take(self) -> bytes | None:
        return self._log.take()


def _goes_on(store: Store, run: str, stage: str, attempt: int) -> bool:
    """Whether an attempt is still at work; not when its runner was killed, and it with it."""
    from pipeline.runner.run import current_state
    from pipeline.runner.state import StageStatus

    found = current_state(store, run).stages.get(stage)
    return (
        found is not None
        and found.status in (StageStatus.RUNNING, StageStatus.WAITING)
        and found.attempts[-1].number == attempt
        and found.attempts[-1].ended is None
    )
