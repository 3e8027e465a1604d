"""A driver stage in a run: asks its function for cells and keeps the history of their results."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from pipeline.cache.artifacts import Artifacts
from pipeline.errors import (
    NEVER_RETRIED,
    ConfigError,
    DataError,
    InputError,
    StoreError,
    UserError,
    WorkerExit,
)
from pipeline.executors.base import Capacity
from pipeline.planner.plan import PlannedStage
from pipeline.runner.retry import GiveUp
from pipeline.runner.schedule import demand, shortage
from pipeline.runner.state import RunState, StageStatus
from pipeline.spec.config import StageConfig
from pipeline.spec.dag import Connection, Stage
from pipeline.spec.driver import Cell, CellOutput, CellResult, Done, DriverConfig, GivenInput
from pipeline.spec.kinds import kind_of, load_entry, resolve_kind
from pipeline.spec.ports import Port, PortKind
from pipeline.spec.scores import read_scores
from pipeline.spec.stage import Launch, StageSpec

PlanCell = Callable[[Stage], PlannedStage]
"""Gives a cell its keys; the stages it reads have theirs already."""
WriteFiles = Callable[[PlannedStage, str, Mapping[str, bytes]], str]
"""Makes an artifact for a port of a stage; gives its digest."""


class DriverFailed(Exception):  # noqa: N818 - ends a stage, and not as an error of ours
    """The driver broke its contract, or one of its cells failed in a way that may pass."""

    def __init__(self, exit_code: int, cause: str) -> None:
        super().__init__(cause)
        self.verdict = GiveUp(exit_code, cause)


@dataclass(frozen=True)
class Proposal:
    """New cells (name, plan), asked for when the results of the first `history` were known."""

    history: int
    cells: Sequence[tuple[str, PlannedStage]]


class Driver:
    """One driver stage in a run.

    Its function is asked for n = 0, 1, 2, ... results in turn, so that what it proposes does not
    depend on which cell happened to finish first.
    """

    def __init__(
        self,
        planned: PlannedStage,
        artifacts: Artifacts,
        plan_cell: PlanCell,
        capacity: Capacity,
    ) -> None:
        """Asks nothing yet; `artifacts` is where scores are read, `capacity` what a cell may take."""
        self.planned = planned
        self._artifacts = artifacts
        self._plan_cell = plan_cell
        self._capacity = capacity
        self._cells: list[tuple[Cell, PlannedStage]] = []
        self._outputs: dict[str, tuple[str, Mapping[str, Port]]] = {}
        self._history: list[CellResult] = []
        self._next_ask = 0

    def step(self, state: RunState) -> Proposal | Done | None:
        """The next answer that can be had now; None until more cells have ended.

        Raises:
            DriverFailed: it cannot go on.
            StoreError: a cell's scores could not be read.
        """
        self._extend_history(state)
        if self._next_ask > len(self._history):
            return None
        asked, self._next_ask = self._next_ask, self._next_ask + 1
        answer = self._ask(tuple(self._history[:asked]))
        if isinstance(answer, Done):
            return answer
        cells = [self._plan(cell) for cell in answer]
        if asked == len(self._cells):
            msg = f"next_cells is not done and asks for nothing after {asked} results"
            raise DriverFailed(WorkerExit.CONFIG, msg)
        return Proposal(asked, cells)

    @property
    def num_cells(self) -> int:
        """Cells proposed so far."""
        return len(self._cells)

    def outputs(self, done: Done, state: RunState, write: WriteFiles) -> dict[str, str]:
        """Port -> digest of what the driver's end gives; `write` makes an artifact of files.

        Raises:
            DriverFailed: a port is missing or unknown, or names what was not built.
            StoreError: the store failed.
        """
        stage = self.planned.stage
        _, ports = stage.spec.ports(stage.config)
        missing = [n for n, p in ports.items() if not p.optional and n not in done.outputs]
        unknown = [name for name in done.outputs if name not in ports]
        if missing or unknown:
            msg = f"Done gives {sorted(done.outputs)}, the outputs are {sorted(ports)}"
            raise DriverFailed(WorkerExit.CONFIG, msg)
        found: dict[str, str] = {}
        for name, source in done.outputs.items():
            if isinstance(source, CellOutput):
                found[name] = self._built(source, ports[name], state)
                continue
            try:
                found[name] = write(self.planned, name, source.files)
            except DataError as exc:
                raise DriverFailed(WorkerExit.DATA, f"output {name}: {exc}") from exc
        return found

    def _built(self, source: CellOutput, port: Port, state: RunState) -> str:
        address, offered = self._outputs.get(source.cell, ("", {}))
        digest = state.stages[address].artifacts.get(source.port) if address else None
        if digest is None:
            msg = f"Done names {source.cell}.{source.port}, which was not built"
            raise DriverFailed(WorkerExit.CONFIG, msg)
        if not port.accepts(offered[source.port]):
            msg = f"Done gives {offered[source.port]} of cell {source.cell} for an output {port}"
            raise DriverFailed(WorkerExit.CONFIG, msg)
        return digest

    def _ask(self, history: Sequence[CellResult]) -> Sequence[Cell] | Done:
        stage = self.planned.stage
        try:
            answer = load_entry(stage.spec, stage.kind)(stage.config, history)
        except ConfigError as exc:
            raise DriverFailed(WorkerExit.CONFIG, str(exc)) from exc
        except Exception as exc:
            frame = traceback.extract_tb(exc.__traceback__)[-1]
            msg = f"next_cells: {frame.filename}:{frame.lineno}: {type(exc).__name__}: {exc}"
            raise DriverFailed(1, msg) from exc
        if isinstance(answer, Done):
            return answer
        return list(answer)

    # --- what it knows of its cells

    def _extend_history(self, state: RunState) -> None:
        while len(self._history) < len(self._cells):
            cell, planned = self._cells[len(self._history)]
            known = state.stages[planned.stage.address]
            if known.succeeded:
                scores = self._scores(planned.stage, known.artifacts)
                self._history.append(CellResult(cell, dict(known.artifacts), scores))
            elif known.status is StageStatus.BLOCKED:
                self._history.append(CellResult(cell, {}, {}, known.note))
            elif known.status is StageStatus.FAILED and known.failure is not None:
                failure = known.failure
                if failure.exit_code not in NEVER_RETRIED:
                    raise DriverFailed(failure.exit_code, f"cell {cell.name}: {failure.cause}")
                self._history.append(CellResult(cell, {}, {}, failure.cause))
            else:
                return

    def _scores(self, stage: Stage, digests: Mapping[str, str]) -> dict[str, float]:
        _, ports = stage.spec.ports(stage.config)
        scores: dict[str, float] = {}
        for name, port in ports.items():
            if port.kind is not PortKind.SCORES or name not in digests:
                continue
            try:
                scores |= read_scores(self._artifacts.open(digests[name]))
            except (InputError, DataError) as exc:
                msg = f"scores of cell {stage.address}: {exc}"
                raise DriverFailed(WorkerExit.DATA, msg) from exc
        return {key: value for key, value in scores.items() if not math.isnan(value)}

    # --- from a cell to a planned stage

    def _plan(self, cell: Cell) -> tuple[str, PlannedStage]:
        config = self.planned.stage.config
        problem = ""
        if not isinstance(config, DriverConfig):
            problem = f"{type(config).__name__} is no DriverConfig, so there is no max_cells"
        elif cell.name in self._outputs:
            problem = "proposed twice"
        elif len(self._cells) >= config.max_cells:
            problem = f"one more than max_cells={config.max_cells}"
        if problem:
            raise DriverFailed(WorkerExit.CONFIG, f"cell {cell.name}: {problem}")
        try:
            stage = self._stage(cell)
        except (UserError, ValidationError, ValueError) as exc:
            raise DriverFailed(WorkerExit.CONFIG, f"cell {cell.name}: {exc}") from exc
        try:
            planned = self._plan_cell(stage)
        except StoreError as exc:  # a Source of its configuration that is not there
            raise DriverFailed(WorkerExit.CONFIG, f"cell {cell.name}: {exc}") from exc
        lack = shortage(demand(stage, self._capacity), self._capacity)
        if lack:
            raise DriverFailed(WorkerExit.CONFIG, f"cell {cell.name}: {lack}")
        self._outputs[cell.name] = (stage.address, stage.spec.ports(stage.config)[1])
        self._cells.append((cell, planned))
        return cell.name, planned

    def _stage(self, cell: Cell) -> Stage:
        parent = self.planned.stage
        # A file named by a cell lies where the driver's own file is, if it is in one.
        folder = _folder_of(parent.kind)
        spec = resolve_kind(cell.kind, folder)
        if spec.launch is Launch.DRIVER:
            msg = f"{cell.kind} is itself a driver"
            raise ValueError(msg)
        config = spec.config.model_validate(dict(cell.config))
        return Stage(
            address=f"{parent.address}/{cell.name}",
            # Shared by all cells, so that the driver's max_parallel holds for them together.
            name=parent.address,
            matrix={},
            kind=kind_of(cell.kind, folder),
            spec=spec,
            config=config,
            inputs=self._inputs(cell, spec, config),
            resources=parent.resources,
            engine=parent.engine,
            retry=parent.retry,
            seed=parent.seed if cell.seed is None else cell.seed,
            timeout_seconds=parent.timeout_seconds,
            max_parallel=parent.max_parallel,
        )

    def _inputs(
        self, cell: Cell, spec: StageSpec, config: StageConfig
    ) -> dict[str, tuple[Connection, ...]]:
        ports, _ = spec.ports(config)
        found: dict[str, tuple[Connection, ...]] = {}
        for name, sources in cell.inputs.items():
            if name not in ports:
                msg = f"{cell.kind} has no input {name}; it has {', '.join(ports) or 'none'}"
                raise ValueError(msg)
            pairs = [pair for source in sources for pair in self._connect(source)]
            for connection, offered in pairs:
                # The driver itself may take any schema; what comes is known once it has run.
                if not ports[name].accepts(
                    replace(offered, schema=offered.schema or ports[name].schema)
                ):
                    msg = f"input {name} takes {ports[name]}, {connection} gives {offered}"
                    raise ValueError(msg)
            if not ports[name].many and len(pairs) != 1:
                msg = f"input {name} takes one artifact, not {len(pairs)}"
                raise ValueError(msg)
            found[name] = tuple(connection for connection, _ in pairs)
        missing = [n for n, port in ports.items() if not port.optional and n not in found]
        if missing:
            msg = f"inputs {', '.join(missing)} of {cell.kind} are not connected"
            raise ValueError(msg)
        return found

    def _connect(self, source: GivenInput | CellOutput) -> list[tuple[Connection, Port]]:
        if isinstance(source, CellOutput):
            address, ports = self._outputs.get(source.cell, ("", {}))
            if source.port not in ports:
                msg = f"there is no earlier cell {source.cell} with an output {source.port}"
                raise ValueError(msg)
            return [(Connection(address, source.port), ports[source.port])]
        parent = self.planned.stage
        ports, _ = parent.spec.ports(parent.config)
        if source.port not in ports:
            msg = f"the driver has no input {source.port}"
            raise ValueError(msg)
        return [(one, ports[source.port]) for one in parent.inputs.get(source.port, ())]


def _folder_of(kind: str) -> Path:
    file, is_file, _ = kind.rpartition(".py:")
    return Path(f"{file}.py").parent if is_file else Path("/")
