"""The DAG as it is drawn: one box a stage, many cells of one stage as one box."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.numbers import duration
from pipeline.report.layout import Spacing, lay_out
from pipeline.runner.state import RunState, StageState, StageStatus

_MAX_CELLS = 4
"""More cells of a stage than these are one box."""
_MARGIN = 6.0
_NAME_CHARACTERS = 21
_WORST = (
    StageStatus.FAILED,
    StageStatus.RUNNING,
    StageStatus.RETRYING,
    StageStatus.CANCELLED,
    StageStatus.BLOCKED,
    StageStatus.WAITING,
    StageStatus.DONE,
    StageStatus.REUSED,
    StageStatus.SKIPPED,
)
"""Which status of its cells a box has."""


@dataclass(frozen=True)
class Box:
    """A stage, or several cells of one; `detail` is the second line."""

    name: str
    title: str
    detail: str
    status: str
    anchor: str
    x: float
    y: float
    is_stack: bool


@dataclass(frozen=True)
class Drawing:
    """Boxes and SVG paths; sizes in pixels."""

    width: float
    height: float
    box_width: float
    box_height: float
    boxes: Sequence[Box]
    paths: Sequence[str]


def draw(state: RunState) -> Drawing:
    """Lays the run's stages out."""
    spacing = Spacing()
    groups = _groups(state.stages.values())
    group_of = {s.address: name for name, stages in groups.items() for s in stages}
    edges = [
        (group_of[source], name)
        for name, stages in groups.items()
        for stage in stages
        for source in stage.upstream
        if source in group_of and group_of[source] != name
    ]
    order = {name: number for number, name in enumerate(_in_order(list(groups), edges))}
    edges = [(source, target) for source, target in edges if order[source] < order[target]]
    layout = lay_out(list(order), edges, spacing)
    boxes = [
        _box(name, stages, layout.nodes[name][0] + _MARGIN, layout.nodes[name][1] + _MARGIN)
        for name, stages in groups.items()
    ]
    return Drawing(
        width=layout.width + 2 * _MARGIN,
        height=layout.height + 2 * _MARGIN,
        box_width=spacing.width,
        box_height=spacing.height,
        boxes=boxes,
        paths=[_path(points) for points in layout.edges.values()],
    )


def base_name(address: str) -> str:
    """The stage a matrix cell or a driver's cell belongs to: its address up to the bracket."""
    return address.partition("[")[0]


def anchor(address: str) -> str:
    """An id in the page that any address may become."""
    return "stage-" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}" for c in address)


def _groups(stages: Iterable[StageState]) -> dict[str, list[StageState]]:
    """Box -> its stages; a driver's cells are in the driver's box."""
    cells: dict[str, list[StageState]] = {}
    for stage in stages:
        cells.setdefault(stage.driver or base_name(stage.address), []).append(stage)
    groups: dict[str, list[StageState]] = {}
    for name, members in cells.items():
        has_driver = any(member.driver for member in members)
        if has_driver or len(members) > _MAX_CELLS:
            groups[name] = members
        else:
            groups |= {member.address: [member] for member in members}
    return groups


def _in_order(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[str]:
    """Sources first. Cells as one box keep that order; a box fed by a later one is moved back."""
    sources: dict[str, set[str]] = {}
    for source, target in edges:
        sources.setdefault(target, set()).add(source)
    placed: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        ready = [name for name in waiting if sources.get(name, set()) <= placed.keys()]
        # Boxes that feed each other, cells of two stages in turn, stay in the order of the file.
        placed |= dict.fromkeys(ready or waiting[:1])
        waiting = [name for name in waiting if name not in placed]
    return list(placed)


def _box(name: str, stages: Sequence[StageState], x: float, y: float) -> Box:
    statuses = [stage.status for stage in stages]
    status = min(statuses, key=_WORST.index)
    seconds = sum(stage.busy_seconds for stage in stages)
    took = duration(seconds) if seconds else ""
    if len(stages) == 1:
        words = [str(status), took]
        attempts = len(stages[0].attempts)
        if attempts > 1:
            words.append(f"{attempts} attempts")
    else:
        good = sum(stage.succeeded for stage in stages)
        words = [f"{good} of {len(stages)} there", took]
    return Box(
        name=_cut(name),
        title=f"{name} ({stages[0].kind}): {status}",
        detail=" · ".join(word for word in words if word),
        status=str(status),
        anchor=anchor(stages[0].address),
        x=round(x, 1),
        y=round(y, 1),
        is_stack=len(stages) > 1,
    )


def _cut(name: str) -> str:
    if len(name) <= _NAME_CHARACTERS:
        return name
    half = (_NAME_CHARACTERS - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A curve that leaves and enters level; straight where it passes a layer."""
    moved = [(round(x + _MARGIN, 1), round(y + _MARGIN, 1)) for x, y in points]
    parts = [f"M{moved[0][0]} {moved[0][1]}"]
    for (x0, y0), (x1, y1) in pairwise(moved):
        middle = round((x0 + x1) / 2, 1)
        parts.append(f"C{middle} {y0} {middle} {y1} {x1} {y1}")
    return "".join(parts)
