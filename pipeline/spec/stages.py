"""Builds the stages of a DAG out of its layered tree: cells, kinds, configurations, checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from pipeline.errors import Problem, UserError
from pipeline.spec.blocks import StageBlock
from pipeline.spec.checks import check_batches, check_launch
from pipeline.spec.config import StageConfig
from pipeline.spec.connections import Producer, connect, unconnected
from pipeline.spec.dag import Connection, Origin, Stage
from pipeline.spec.interpolation import Interpolator
from pipeline.spec.kinds import kind_of, resolve_kind
from pipeline.spec.matrix import Cell, expand
from pipeline.spec.order import topological_order
from pipeline.spec.origins import DEFAULT, Origins
from pipeline.spec.resources import Retry
from pipeline.spec.sources import absolute_sources, names_a_file, source_fields
from pipeline.spec.stage import Launch, StageSpec
from pipeline.spec.tree import Node, Path, problem
from pipeline.spec.validation import validate
from pipeline.storage.sources import is_url


@dataclass(frozen=True)
class Settings:
    """What holds for every stage of a DAG.

    Attributes:
        folder: the DAG file's; relative paths start there.
        seed: of stages that name none, and where it is written.
        is_local: whether sources must lie on this machine.
    """

    folder: FilePath
    seed: int
    seed_origin: Origin
    is_local: bool


@dataclass(frozen=True)
class _Draft:
    """A cell whose own keys are read; without a config when something in it is wrong."""

    name: str
    cell: Cell
    node: Node
    block: StageBlock | None = None
    spec: StageSpec | None = None
    config: StageConfig | None = None

    @property
    def path(self) -> Path:
        """Where its block stands."""
        return ("stages", self.name)


class StageBuilder:
    """Collects problems over all stages, so that a file's errors come at once."""

    def __init__(self, settings: Settings, interpolator: Interpolator) -> None:
        """`interpolator` knows the params."""
        self.problems: list[Problem] = []
        self._settings = settings
        self._interpolator = interpolator
        self._kinds: dict[str, StageSpec | UserError] = {}

    def build(self, stages: Mapping[str, Node]) -> dict[str, Stage]:
        """Address -> stage, upstream first; what is wrong goes to `problems`."""
        drafts = {name: self._drafts(name, node) for name, node in stages.items()}
        producers = {name: _producer(cells, stages[name]) for name, cells in drafts.items()}
        connections: dict[str, dict[str, tuple[Connection, ...]]] = {}
        by_address: dict[str, _Draft] = {}
        for cells in drafts.values():
            for draft in cells:
                by_address[draft.cell.address] = draft
                connections[draft.cell.address] = self._connections(draft, producers)
        upstream = {
            address: [one.stage for port in ports.values() for one in port]
            for address, ports in connections.items()
        }
        order, circles = topological_order(upstream)
        self._report_circles(circles, by_address)
        built = {}
        for address in order:
            stage = self._stage(by_address[address], connections[address])
            if stage is not None:
                built[address] = stage
        return built

    def _drafts(self, name: str, node: Node) -> list[_Draft]:
        path = ("stages", name)
        if not isinstance(node.value, dict):
            fix = "A stage needs `uses`."
            message = f"should be a mapping, not {node.shown()}"
            self.problems.append(problem(node.origin, path, message, fix))
            return []
        matrix = node.value.get("matrix")
        if matrix is not None:
            matrix, _ = self._interpolator.replace_in(matrix, (*path, "matrix"))
            if any(part.broken for _, part in matrix.walk()):
                return []
        cells, problems = expand(name, matrix, (*path, "matrix"))
        self.problems += problems
        rest = {key: child for key, child in node.value.items() if key != "matrix"}
        used: set[str] = set()
        drafts = []
        for cell in cells:
            block, axes = self._interpolator.replace_in(
                replace(node, value=rest), path, axes=cell.axes
            )
            used |= axes
            if matrix is not None:
                # The cell's own values alone: all of them in every cell would be their square.
                own = {
                    axis: replace(matrix.entries[axis], value=[value])
                    for axis, value in cell.axes.items()
                }
                own_matrix = replace(matrix, value=own)
                block = replace(block, value={**block.entries, "matrix": own_matrix})
            drafts.append(self._draft(name, cell, block))
        if cells and matrix is not None:
            unused = {axis: child for axis, child in matrix.entries.items() if axis not in used}
            self._report_unused(unused, (*path, "matrix"))
        return drafts

    def _report_unused(self, axes: Mapping[str, Node], path: Path) -> None:
        for axis, node in axes.items():
            message = f"no field of the stage uses ${{matrix.{axis}}}: its cells are all alike"
            fix = f'Write for example `seed: "${{matrix.{axis}}}"`.'
            self.problems.append(problem(node.place, (*path, axis), message, fix))

    def _draft(self, name: str, cell: Cell, node: Node) -> _Draft:
        path = ("stages", name)
        draft = _Draft(name, cell, node)
        block, problems = validate(StageBlock, node, path, noun="key")
        self.problems += problems
        uses = node.entries.get("uses")
        spec = self._kind(uses, path) if uses is not None else None
        if spec is None:
            return replace(draft, block=block)
        self.problems += check_launch(spec, node, path)
        given = node.entries.get("with") or Node({}, node.place)
        config = None
        if isinstance(given.value, dict):
            # Positions of what is missing as a whole are those of the stage.
            given = replace(given, key=given.key or node.key)
            config, wrong = validate(spec.config, given, (*path, "with"))
            self.problems += wrong
        if config is not None:
            config = self._with_sources(config, given, (*path, "with"))
        return replace(draft, block=block, spec=spec, config=config)

    def _kind(self, uses: Node, path: Path) -> StageSpec | None:
        if uses.broken or not isinstance(uses.value, str) or not uses.value:
            return None
        found = self._kinds.get(uses.value)
        if found is None:
            try:
                found = resolve_kind(uses.value, self._settings.folder)
            except UserError as exc:
                found = exc
            self._kinds[uses.value] = found
        if isinstance(found, StageSpec):
            return found
        where = (*path, "uses")
        self.problems += [problem(uses.origin, where, one.message) for one in found.problems]
        return None

    def _with_sources(self, config: StageConfig, given: Node, path: Path) -> StageConfig:
        config = absolute_sources(config, self._settings.folder)
        if not self._settings.is_local:
            return config
        for field in source_fields(config):
            if is_url(field.text) or names_a_file(field.text):
                continue
            node, missing = given.find(field.path)
            hint = "~ is the shell's alone: write $HOME there." if "/~" in field.text else ""
            shown = node.shown() if node.origin.environment else field.text
            self.problems.append(
                problem(
                    given.place if missing else node.origin,
                    (*path, *field.path),
                    f"there is no file {shown}",
                    hint or "Relative paths start at the folder of the DAG file.",
                )
            )
        return config

    def _connections(
        self, draft: _Draft, producers: Mapping[str, Producer]
    ) -> dict[str, tuple[Connection, ...]]:
        if draft.spec is None:
            return {}
        if draft.config is not None:
            ports = draft.spec.ports(draft.config)[0]
        elif draft.spec.ports_of is None:
            ports = draft.spec.inputs
        else:
            return {}
        inputs = draft.node.entries.get("inputs")
        connections, problems = connect(inputs, ports, producers, (*draft.path, "inputs"))
        self.problems += problems
        self.problems += unconnected(inputs, ports, producers, draft.node, draft.path)
        return connections

    def _report_circles(
        self, circles: Sequence[Sequence[str]], drafts: Mapping[str, _Draft]
    ) -> None:
        for circle in circles:
            draft = drafts[circle[0]]
            place = (draft.node.entries.get("inputs") or draft.node).place
            # Written in the direction of the data: each needs the one before it.
            text = " -> ".join([circle[0], *reversed(circle)])
            where = (*draft.path, "inputs")
            message = f"a circle: {text}"
            self.problems.append(problem(place, where, message, "Remove one of these inputs."))

    def _stage(self, draft: _Draft, connections: dict[str, tuple[Connection, ...]]) -> Stage | None:
        block, spec, config = draft.block, draft.spec, draft.config
        if block is None or spec is None or config is None:
            return None
        if spec.launch is Launch.GANG:
            wrong = check_batches(config, block.resources, block.deepspeed, draft.node, draft.path)
            self.problems += wrong
        # A single process begins anew each time, so its own error would only come again.
        is_single = spec.launch is Launch.PROCESS and "retry" not in block.model_fields_set
        retry = Retry(errors=False) if is_single else block.retry
        settings = self._settings
        others = {"seed": settings.seed_origin}
        others |= dict.fromkeys(("inputs", "timeout_seconds", "max_parallel"), DEFAULT)
        return Stage(
            address=draft.cell.address,
            name=draft.name,
            matrix=draft.cell.values,
            kind=kind_of(block.uses, settings.folder),
            spec=spec,
            config=config,
            inputs=connections,
            resources=block.resources,
            engine=block.deepspeed,
            retry=retry,
            seed=settings.seed if block.seed is None else block.seed,
            timeout_seconds=block.timeout_seconds,
            max_parallel=block.max_parallel,
            origins=Origins(
                draft.name,
                draft.node,
                {
                    "with": config,
                    "resources": block.resources,
                    "deepspeed": block.deepspeed,
                    "retry": retry,
                },
                others,
            ),
            environment=_environment(draft.node.child("with")),
        )


def _producer(cells: Sequence[_Draft], node: Node) -> Producer:
    outputs = [
        cell.spec.ports(cell.config)[1]
        if cell.spec and cell.config is not None
        else (cell.spec.outputs if cell.spec and cell.spec.ports_of is None else None)
        for cell in cells
    ]
    return Producer(
        [cell.cell.address for cell in cells],
        [cell.cell.values for cell in cells],
        outputs,
        has_matrix="matrix" in node.entries,
    )


def _environment(block: Node | None) -> dict[Path, tuple[str, ...]]:
    """Path within `with` -> the variables that stand in the value there."""
    nodes = block.walk() if block is not None else ()
    return {path: node.origin.environment for path, node in nodes if node.origin.environment}
