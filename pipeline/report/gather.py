"""Everything the report says of a run, read from its store and its attempts' folders."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.cache import Artifacts, Results
from pipeline.cache.manifest import Manifest
from pipeline.errors import InputError, PipelineError
from pipeline.metrics.progress import Progress, read_progress
from pipeline.metrics.recorder import METRICS_FILE
from pipeline.report.notes import Note, notes_of
from pipeline.report.points import PointsFile
from pipeline.report.secrets import hidden_values
from pipeline.runner.record import RunRecord, read_record
from pipeline.runner.run import current_state
from pipeline.runner.state import AttemptState, RunState, RunStatus, StageState, StageStatus
from pipeline.spec.ports import PortKind
from pipeline.spec.scores import read_scores
from pipeline.storage import Store

_READERS = 16
"""Parallel reads from an object store, where one takes tens of milliseconds."""
_MAX_TABLE_ROWS = 500


@dataclass(frozen=True)
class Artifact:
    """What a stage made, or took over; `manifest` is None where the store has it no more."""

    stage: str
    port: str
    digest: str
    manifest: Manifest | None


@dataclass(frozen=True)
class Reuse:
    """Where a result came from that this run did not compute; `seconds` is what that took."""

    run: str
    stage: str
    created: float
    seconds: float | None


@dataclass(frozen=True)
class ResultTable:
    """A TABLE artifact."""

    place: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    num_left_out: int


@dataclass(frozen=True)
class RunView:
    """A run as the report sees it.

    Attributes:
        scores: stage address -> score -> value, of its SCORES artifacts.
        points: stage address -> what each of its attempts recorded, in their order.
        progress: of the attempts at work now.
        read_at: when this was, Unix time.
    """

    state: RunState
    record: RunRecord
    artifacts: Sequence[Artifact]
    reused: Mapping[str, Reuse]
    scores: Mapping[str, Mapping[str, float]]
    tables: Sequence[ResultTable]
    points: Mapping[str, Sequence[PointsFile]]
    progress: Mapping[str, Progress]
    notes: Sequence[Note]
    read_at: float

    @property
    def seconds(self) -> float:
        """From the start to the end; to now while it goes on, to the newest event of a killed one."""
        now = self.read_at if self.state.status is RunStatus.RUNNING else self.state.updated
        return (self.state.ended or now) - self.state.started


class RunReader:
    """Reads one run, again and again while it goes on; keeps what cannot change."""

    def __init__(
        self,
        store: Store,
        run: str,
        cache_folder: Path,
        *,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """Reads the record.

        Args:
            store: where the run is.
            run: its full id.
            cache_folder: takes local copies of an object store's scores and tables.
            secrets: variable -> value, of the environment; no cause or warning may hold one.

        Raises:
            UserError: there is no such run.
            StoreError: the store failed.
        """
        self.run = run
        self._store = store
        self._variables = secrets or {}
        self._record = read_record(store, run)
        self._results = Results(store)
        self._artifacts = Artifacts(store, cache_folder=cache_folder)
        self._manifests: dict[str, Manifest | None] = {}
        self._scores: dict[str, Mapping[str, float]] = {}
        self._tables: dict[str, ResultTable] = {}
        self._reused: dict[str, Reuse | None] = {}
        self._points: dict[str, PointsFile] = {}
        self._secrets: list[tuple[str, str]] = []
        self._elsewhere: list[str] = []

    def read(self) -> RunView:
        """How the run stands now.

        Raises:
            StoreError: the store failed.
        """
        state = self._state()
        problems: list[Note] = []
        self._read_manifests({d for s in state.stages.values() for d in s.artifacts.values()})
        artifacts = [
            Artifact(stage.address, port, digest, self._manifests[digest])
            for stage in state.stages.values()
            for port, digest in stage.artifacts.items()
        ]
        scores, tables = self._results_of(artifacts, problems)
        self._elsewhere = []
        points = {
            stage.address: found
            for stage in state.stages.values()
            if (found := self._points_of(stage, problems))
        }
        if self._elsewhere:
            count = len(self._elsewhere)
            folders = self._elsewhere[0] + (f" and {count - 1} more" if count > 1 else "")
            text = f"numbers, pictures and logs of attempts are not on this machine: {folders}"
            problems.append(Note("warning", "run", text))
        return RunView(
            state=state,
            record=self._record,
            artifacts=artifacts,
            reused=self._reuses(state.stages.values()),
            scores=scores,
            tables=tables,
            points=points,
            progress=_progress_of(state),
            notes=[
                replace(note, text=self._hide(note.text))
                for note in (*notes_of(state, self._record), *problems)
            ],
            read_at=time.time(),
        )

    def _state(self) -> RunState:
        """The state; what it says in words holds no value of the environment."""
        state = current_state(self._store, self.run)
        self._secrets = hidden_values(state, self._record, self._variables)
        state.cause = self._hide(state.cause)
        for stage in state.stages.values():
            stage.note = self._hide(stage.note)
            stage.reasons = tuple(map(self._hide, stage.reasons))
            for attempt in stage.attempts:
                attempt.cause = self._hide(attempt.cause)
            if stage.failure is not None:
                cause, advice = stage.failure.cause, stage.failure.advice
                hidden = {"cause": self._hide(cause), "advice": self._hide(advice)}
                stage.failure = stage.failure.model_copy(update=hidden)
        return state

    def _hide(self, text: str) -> str:
        for value, name in self._secrets:
            text = text.replace(value, name)
        return text

    def _read_manifests(self, digests: set[str]) -> None:
        wanted = sorted(digests - self._manifests.keys())
        with ThreadPoolExecutor(1 if self._store.local_path() is not None else _READERS) as pool:
            self._manifests |= zip(wanted, pool.map(self._manifest, wanted), strict=True)

    def _manifest(self, digest: str) -> Manifest | None:
        try:
            return self._artifacts.manifest(digest)
        except InputError:
            return None

    def _results_of(
        self, artifacts: Iterable[Artifact], problems: list[Note]
    ) -> tuple[dict[str, dict[str, float]], list[ResultTable]]:
        scores: dict[str, dict[str, float]] = {}
        tables = []
        for one in artifacts:
            kind = one.manifest.kind if one.manifest else None
            try:
                if kind is PortKind.SCORES:
                    if one.digest not in self._scores:
                        self._scores[one.digest] = read_scores(self._artifacts.open(one.digest))
                    scores.setdefault(one.stage, {}).update(self._scores[one.digest])
                elif kind is PortKind.TABLE:
                    place = f"{one.stage}.{one.port}"
                    if place not in self._tables:
                        self._tables[place] = _read_table(place, self._artifacts.open(one.digest))
                    tables.append(self._tables[place])
            except (PipelineError, OSError, ValueError, LookupError, TypeError) as exc:
                text = f"its {kind} cannot be shown: {type(exc).__name__}: {exc}"
                problems.append(Note("warning", one.stage, text))
        return scores, tables

    def _reuses(self, stages: Iterable[StageState]) -> dict[str, Reuse]:
        wanted = [s for s in stages if s.status is StageStatus.REUSED]
        new = [stage.plan_key for stage in wanted if stage.plan_key not in self._reused]
        with ThreadPoolExecutor(1 if self._store.local_path() is not None else _READERS) as pool:
            self._reused |= zip(new, pool.map(self._reuse, new), strict=True)
        found = {stage.address: self._reused[stage.plan_key] for stage in wanted}
        return {address: reuse for address, reuse in found.items() if reuse is not None}

    def _reuse(self, plan_key: str) -> Reuse | None:
        result = self._results.read(plan_key).result
        if result is None:
            return None
        seconds = result.provenance.get("seconds")
        took = float(seconds) if isinstance(seconds, int | float) else None
        return Reuse(result.run, result.stage, result.created, took)

    def _points_of(self, stage: StageState, problems: list[Note]) -> list[PointsFile]:
        files = []
        for attempt in stage.attempts:
            path = Path(attempt.folder) / METRICS_FILE
            file = self._points.setdefault(attempt.attempt_id, PointsFile(path))
            try:
                there = file.read_new()
            except OSError as exc:
                problems.append(Note("warning", stage.address, f"{path}: {exc.strerror}"))
                continue
            if there:
                files.append(file)
            elif _is_elsewhere(attempt):
                self._elsewhere.append(attempt.folder)
            if file.num_damaged:
                text = f"{file.num_damaged} damaged lines in {path} are left out"
                problems.append(Note("warning", stage.address, text))
        return files


def _is_elsewhere(attempt: AttemptState) -> bool:
    """Whether the folder is on another machine, and not only too young to hold anything."""
    return attempt.ended is not None and not Path(attempt.folder).is_dir()


def _progress_of(state: RunState) -> dict[str, Progress]:
    found = {}
    for stage in state.stages.values():
        if stage.status is StageStatus.RUNNING and stage.attempts:
            progress = read_progress(Path(stage.attempts[-1].folder) / "progress.json")
            if progress is not None:
                found[stage.address] = progress
    return found


def _read_table(place: str, folder: Path) -> ResultTable:
    table = json.loads((folder / "table.json").read_bytes())
    columns = [str(column) for column in table["columns"]]
    rows = [list(row) for row in table["rows"]]
    return ResultTable(place, columns, rows[:_MAX_TABLE_ROWS], max(0, len(rows) - _MAX_TABLE_ROWS))
