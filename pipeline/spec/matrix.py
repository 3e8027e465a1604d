"""The cells of a stage's matrix: their addresses, and the choice of cells by `stage[axis=value]`."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Problem
from pipeline.spec.scalars import resolve_scalar, scalar_text
from pipeline.spec.suggest import did_you_mean
from pipeline.spec.tree import Node, Path, problem, type_name

MAX_CELLS = 10_000
_VALUE = re.compile(r"[^\s\[\],=]+")
_AXIS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Cell:
    """One cell of a stage: its address, and axis -> value; no axes without a matrix."""

    address: str
    axes: Mapping[str, Node]

    @property
    def values(self) -> dict[str, Any]:
        """Axis -> plain value."""
        return {axis: node.value for axis, node in self.axes.items()}


def address_of(name: str, values: Mapping[str, Any]) -> str:
    """`finetune[seed=2,lr=0.001]`; the bare name without a matrix."""
    if not values:
        return name
    return f"{name}[{','.join(f'{axis}={scalar_text(value)}' for axis, value in values.items())}]"


def expand(name: str, matrix: Node | None, path: Path) -> tuple[list[Cell], list[Problem]]:
    """The cells of a stage, row-major: the last axis moves fastest.

    Args:
        name: the stage's.
        matrix: its `matrix:` block, references replaced; None without one.
        path: where the block stands.

    Returns:
        The cells, one without axes when the block is absent, none when it is wrong; problems.
    """
    if matrix is None:
        return [Cell(name, {})], []
    if not isinstance(matrix.value, dict) or not matrix.value:
        message = f"should be a mapping from axis to a list of values, not {matrix.shown()}"
        return [], [problem(matrix.origin, path, message, "Write {seed: [1, 2, 3]}.")]
    problems = [
        found
        for axis, node in matrix.value.items()
        for found in _axis_problems(axis, node, (*path, axis))
    ]
    if problems:
        return [], problems
    axes = {axis: node.value for axis, node in matrix.value.items() if isinstance(node.value, list)}
    num_cells = math.prod(len(values) for values in axes.values())
    if num_cells > MAX_CELLS:
        message = f"has {num_cells} cells; {MAX_CELLS} is the limit"
        return [], [problem(matrix.origin, path, message)]
    cells = []
    for values in itertools.product(*axes.values()):
        nodes = dict(zip(axes, values, strict=True))
        plain = {axis: node.value for axis, node in nodes.items()}
        cells.append(Cell(address_of(name, plain), nodes))
    return cells, []


def _axis_problems(axis: str, node: Node, path: Path) -> Iterable[Problem]:
    if not _AXIS.fullmatch(axis):
        place = node.place
        yield problem(place, path, "an axis is named with letters, digits, _ and -")
    if not isinstance(node.value, list) or not node.value:
        message = f"should be a list of values, not {node.shown()}"
        yield problem(node.origin, path, message, "Write [1, 2, 3].")
        return
    seen: set[str] = set()
    for index, item in enumerate(node.value):
        where = (*path, index)
        if isinstance(item.value, dict | list) or item.value is None:
            message = f"an axis takes numbers, texts, true and false, not {type_name(item.value)}"
            yield problem(item.origin, where, message)
            continue
        if item.origin.environment:
            # The address is printed, journaled and the name of a folder.
            message = "a value of the environment cannot stand in an address: it may be secret"
            yield problem(item.origin, where, message, "Write the value, or use it in `with`.")
            continue
        text = scalar_text(item.value)
        if not _VALUE.fullmatch(text):
            message = f"{item.shown()} cannot stand in an address: no spaces and none of [ ] , ="
            yield problem(item.origin, where, message, "Name it by a param.")
        if text in seen:
            yield problem(item.origin, where, f"{item.shown()} stands twice")
        seen.add(text)


def select(selector: str, name: str, cells: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which cells `axis=value,...` names, in their order; all of them when it is empty.

    Args:
        selector: what stands between the brackets.
        name: the stage's, for messages.
        cells: axis -> value of each cell.

    Raises:
        ValueError: no such axis or value; the message says which there are.
    """
    chosen = list(range(len(cells)))
    if not selector.strip():
        return chosen
    if not cells or not cells[0]:
        msg = f"{name} has no matrix; write {name} without [{selector}]"
        raise ValueError(msg)
    for part in selector.split(","):
        axis, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals:
            msg = f"{part.strip()!r} is no axis=value"
            raise ValueError(msg)
        if axis not in cells[0]:
            msg = f"{name} has no axis {axis!r}. {did_you_mean(axis, cells[0], 'Axes')}"
            raise ValueError(msg)
        wanted = _spellings(text)
        known = [scalar_text(cell[axis]) for cell in cells]
        if not wanted & set(known):
            values = ", ".join(dict.fromkeys(known))
            msg = f"{name} has no cell with {axis}={text}; values of {axis}: {values}"
            raise ValueError(msg)
        chosen = [index for index in chosen if known[index] in wanted]
    if not chosen:
        msg = f"no cell of {name} is [{selector}]"
        raise ValueError(msg)
    return chosen


def _spellings(text: str) -> set[str]:
    """A value as written and as an address spells it: 1e-3 is 0.001."""
    try:
        return {text, scalar_text(resolve_scalar(text))}
    except ValueError:
        return {text}
