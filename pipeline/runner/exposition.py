"""/metrics of a run: its stages' states and, of attempts on this machine, their own numbers.

The run's thread takes notes of what an event changed; a scraper's thread reads the notes. So a
scraper neither slows a run nor meets it half way through a change.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.metrics import names
from pipeline.metrics.exposition import Exposition, installed_version, place_labels
from pipeline.metrics.http import Page, PageServer
from pipeline.metrics.series import SERIES_FOLDER
from pipeline.runner import events as ev
from pipeline.runner.causes import restarts
from pipeline.runner.events import Entry
from pipeline.runner.gpu_time import GpuTime, gpu_time
from pipeline.runner.state import AttemptState, RunState, StageState, StageStatus

_LAST_SEEN_SECONDS = 60.0
"""How long an ended attempt's numbers are still served: a few scrapes."""


@dataclass(frozen=True)
class _Notes:
    """What is served of a stage."""

    status: StageStatus
    attempts: int
    restarts: Mapping[str, int]
    ready_at: float | None
    queue_wait: float | None
    duration: float | None
    finished: float | None
    ended_gpu_time: GpuTime
    gpus_since: tuple[int, float] | None
    folder: str
    ended: float | None


@dataclass
class RunPages:
    """A listener of a run, and the page that tells of it.

    `attempts_here`: attempts are processes of this machine, and nobody else serves their numbers.
    """

    grace_seconds: float
    deliveries: Mapping[str, int]
    """Result -> messages to the webhook; empty without one."""
    attempts_here: bool = True

    def __post_init__(self) -> None:
        """Knows nothing of the run yet."""
        self._lock = threading.Lock()
        self._stages: dict[str, _Notes] = {}
        self._below: dict[str, list[str]] = {}
        self._place: dict[str, str] = {}
        self._state = ""
        self._planned_at = 0.0
        self._looked_up = {"hit": 0, "miss": 0}
        self.num_scrapes = 0

    def event(self, entry: Entry, state: RunState) -> None:
        """Notes what the event changed."""
        event = entry.event
        with self._lock:
            self._place = place_labels(pipeline=state.dag, run=state.run)
            self._state = str(state.status)
            touched = self._touched(event, entry.time, state)
            for address in touched:
                if address in state.stages:
                    self._stages[address] = self._note(state.stages[address], state)

    def tick(self, state: RunState) -> None:
        """Nothing: what moves between events is in the attempts' folders."""

    def metrics(self, accept: str) -> Page:
        """The page; called from any thread."""
        with self._lock:
            self.num_scrapes += 1
            stages, place, state = dict(self._stages), dict(self._place), self._state
            looked_up = dict(self._looked_up)
        page, now = Exposition(), time.time()
        page.add(names.BUILD_INFO, 1.0, {**place, "version": installed_version()})
        for one in names.RUN_STATE.known if state else ():
            page.add(names.RUN_STATE, float(one == state), {**place, "state": one})
        for result, number in looked_up.items():
            page.add(names.CACHE_REQUESTS_TOTAL, number, {**place, "result": result})
        for result, number in dict(self.deliveries).items():
            page.add(names.WEBHOOK_DELIVERIES_TOTAL, number, {**place, "result": result})
        for address, notes in stages.items():
            _add_stage(page, notes, {**place, "stage": address}, now)
            if self.attempts_here:
                self._add_attempt(page, notes, {**place, "stage": address}, now)
        return page.page(accept)

    def _touched(self, event: ev.Event, when: float, state: RunState) -> list[str]:
        """Addresses whose notes the event makes old; counts what only events tell."""
        if isinstance(event, ev.StagesPlanned):
            self._planned_at = when
            self._stages, self._below = {}, {}
            for address, stage in state.stages.items():
                for above in stage.upstream:
                    self._below.setdefault(above, []).append(address)
            self._looked_up["hit"] += sum(entry.action == "reuse" for entry in event.stages)
            return list(state.stages)
        if isinstance(event, ev.CellsProposed):
            return [event.stage, *(cell.address for cell in event.cells)]
        if isinstance(event, ev.StageReused):
            self._looked_up["hit"] += 1
        if isinstance(event, ev.AttemptStarted):
            attempts = state.stages[event.stage].attempts
            self._looked_up["miss"] += sum(a.session == state.session for a in attempts) == 1
        changed: str | None = getattr(event, "stage", None)
        return [] if changed is None else [changed, *self._below.get(changed, ())]

    def _note(self, stage: StageState, state: RunState) -> _Notes:
        ready_at = self._ready_at(stage, state)
        mine = [a for a in stage.attempts if a.session == state.session]
        last = stage.attempts[-1] if stage.attempts else None
        ended = None if last is None else last.ended
        runs = last is not None and ended is None and stage.status is StageStatus.RUNNING
        return _Notes(
            status=stage.status,
            attempts=len(stage.attempts),
            restarts=restarts(stage),
            ready_at=ready_at if stage.status is StageStatus.WAITING else None,
            queue_wait=_queue_wait(mine[0], ready_at) if mine and ready_at else None,
            duration=ended - last.started if last is not None and ended is not None else None,
            finished=stage.since if stage.status is StageStatus.DONE else None,
            # As of the start of what still runs: that part grows by itself.
            ended_gpu_time=gpu_time(stage, 0.0),
            gpus_since=(last.gpus, last.started + last.pending_seconds) if last and runs else None,
            folder="" if last is None else last.folder,
            ended=ended,
        )

    def _ready_at(self, stage: StageState, state: RunState) -> float | None:
        """When the last input was there; None while one is missing."""
        above = [state.stages[address] for address in stage.upstream if address in state.stages]
        if not all(one.succeeded for one in above):
            return None
        return max([self._planned_at, *(one.since for one in above)])

    def _add_attempt(
        self, page: Exposition, notes: _Notes, place: Mapping[str, str], now: float
    ) -> None:
        if not notes.folder or (notes.ended and now - notes.ended > _LAST_SEEN_SECONDS):
            return
        place = {**place, "attempt": str(notes.attempts)}
        page.add(names.STAGE_GRACE_SECONDS, self.grace_seconds, place)
        page.add_attempt(Path(notes.folder) / SERIES_FOLDER, place)


def _queue_wait(attempt: AttemptState, ready_at: float) -> float | None:
    """Until its processes ran; None while it waits in the cluster."""
    if attempt.pending_since is not None:
        return None
    return max(0.0, attempt.started - ready_at) + attempt.pending_seconds


def _add_stage(page: Exposition, notes: _Notes, place: Mapping[str, str], now: float) -> None:
    for status in StageStatus:
        page.add(names.STAGE_STATE, float(status is notes.status), {**place, "state": str(status)})
    page.add(names.STAGE_ATTEMPTS_TOTAL, notes.attempts, place)
    for cause in names.STAGE_RESTARTS_TOTAL.known:
        number = notes.restarts.get(cause, 0)
        page.add(names.STAGE_RESTARTS_TOTAL, number, {**place, "cause": cause})
    held = notes.ended_gpu_time.held
    if notes.gpus_since is not None:
        gpus, since = notes.gpus_since
        held += gpus * max(0.0, now - since)
    page.add(names.STAGE_GPU_SECONDS_TOTAL, held, place)
    page.add(names.STAGE_GPU_WASTED_SECONDS_TOTAL, notes.ended_gpu_time.wasted, place)
    for metric, value in (
        (names.STAGE_READY_TIMESTAMP_SECONDS, notes.ready_at),
        (names.STAGE_QUEUE_WAIT_SECONDS, notes.queue_wait),
        (names.STAGE_DURATION_SECONDS, notes.duration),
        (names.STAGE_LAST_SUCCESS_TIMESTAMP_SECONDS, notes.finished),
    ):
        if value is not None:
            page.add(metric, value, place)


class RunServer:
    """Serves a run's page from a thread of its own, from here until `close`."""

    def __init__(self, pages: RunPages, port: int) -> None:
        """Listens at once.

        Raises:
            OSError: the port is taken.
        """
        self._pages = pages
        self._server = PageServer(
            {"/metrics": pages.metrics, "/healthz": lambda _accept: Page(b"ok\n")}, port=port
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def linger(self, seconds: float) -> None:
        """Waits until the final values were scraped once, no longer than this."""
        before, give_up = self._pages.num_scrapes, time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._pages.num_scrapes > before and self._server.is_idle:
                return
            time.sleep(0.05)

    def close(self) -> None:
        """Hangs up."""
        self._over.set()
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            self._server.serve(0.2)
