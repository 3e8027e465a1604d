"""What `inputs:` says: which output of which cell goes into which port, and whether it fits."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Problem
from pipeline.spec.dag import Connection
from pipeline.spec.matrix import select
from pipeline.spec.ports import Port
from pipeline.spec.suggest import did_you_mean
from pipeline.spec.tree import Node, Path, problem

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)(\[[^\]]*\])?\.([A-Za-z_][A-Za-z0-9_]*)")
_MAX_OFFERS = 5


@dataclass(frozen=True)
class Producer:
    """A stage as others may connect to it.

    Attributes:
        addresses: of its cells, in order.
        values: axis -> value of each cell.
        outputs: output ports of each cell; None where the stage itself is wrong.
        has_matrix: whether a bare reference is a list.
    """

    addresses: Sequence[str]
    values: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Port] | None]
    has_matrix: bool


class _RefusedError(Exception):
    """Why a reference cannot be connected, and what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


def connect(
    inputs: Node | None, ports: Mapping[str, Port], producers: Mapping[str, Producer], path: Path
) -> tuple[dict[str, tuple[Connection, ...]], list[Problem]]:
    """The connections of one cell, and what is wrong with them.

    Args:
        inputs: its `inputs:` block with references replaced; texts and lists of texts.
        ports: its input ports.
        producers: every stage by name.
        path: where the block stands.
    """
    connections: dict[str, tuple[Connection, ...]] = {}
    problems: list[Problem] = []
    for name, node in inputs.entries.items() if inputs else ():
        port = ports.get(name)
        if port is None:
            hint = did_you_mean(name, ports, "Input ports")
            problems.append(problem(node.place, (*path, name), "unknown input port", hint))
            continue
        found, wrong = _connect_port(port, node, producers, (*path, name))
        connections[name] = found
        problems += wrong
    return connections, problems


def unconnected(
    inputs: Node | None,
    ports: Mapping[str, Port],
    producers: Mapping[str, Producer],
    stage: Node,
    path: Path,
) -> Iterator[Problem]:
    """A problem for each port that must be connected and is not."""
    given = inputs.entries if inputs else {}
    for name, port in ports.items():
        if port.optional or name in given:
            continue
        offers = [
            f"{producer_name}.{output}"
            for producer_name, producer in producers.items()
            for output, offered in (producer.outputs[0] or {} if producer.outputs else {}).items()
            if port.accepts(offered) and producer_name != path[1]
        ]
        listed = ", ".join(offers[:_MAX_OFFERS])
        fix = f"It takes {port}; that is: {listed}." if listed else f"No stage makes {port}."
        place = inputs.place if inputs else stage.place
        yield problem(place, (*path, "inputs", name), "this input is not connected", fix)


def _connect_port(
    port: Port, node: Node, producers: Mapping[str, Producer], path: Path
) -> tuple[tuple[Connection, ...], list[Problem]]:
    is_list = isinstance(node.value, list)
    items = node.value if isinstance(node.value, list) else [node]
    connections: list[Connection] = []
    problems: list[Problem] = []
    if is_list and not port.many:
        fix = "Write one STAGE.PORT without brackets."
        return (), [problem(node.origin, path, f"takes one {port}, not a list", fix)]
    if not items:
        return (), [problem(node.origin, path, "the list is empty", "Connect at least one.")]
    for index, item in enumerate(items):
        where = (*path, index) if is_list else path
        if item.broken or not isinstance(item.value, str):
            continue
        try:
            connections += _resolve(item.value, port, producers)
        except _RefusedError as exc:
            problems.append(problem(item.origin, where, exc.message, exc.fix))
    return tuple(connections), problems


def _resolve(text: str, port: Port, producers: Mapping[str, Producer]) -> list[Connection]:
    match = _REFERENCE.fullmatch(text)
    if match is None:
        fix = "Write STAGE.PORT, or STAGE[axis=value].PORT for a cell of a matrix."
        raise _RefusedError(f"{text!r} is no output of a stage", fix)
    name, selector, output = match.groups()
    producer = producers.get(name)
    if producer is None:
        raise _RefusedError(f"there is no stage {name!r}", did_you_mean(name, producers, "Stages"))
    if not producer.addresses:
        return []
    try:
        chosen = select((selector or "[]")[1:-1], name, producer.values)
    except ValueError as exc:
        raise _RefusedError(str(exc)) from exc
    is_list = len(chosen) != 1 or (producer.has_matrix and not _names_all(selector, producer))
    if is_list and not port.many:
        message = f"{text} is a list of {len(chosen)}, and the port takes one {port}"
        fix = f"Name a cell, e.g. {producer.addresses[chosen[0]]}.{output}."
        raise _RefusedError(message, fix)
    return [_connection(producer, index, name, output, port) for index in chosen]


def _names_all(selector: str | None, producer: Producer) -> bool:
    return (selector or "").count("=") >= len(producer.values[0])


def _connection(producer: Producer, index: int, name: str, output: str, port: Port) -> Connection:
    outputs = producer.outputs[index]
    address = producer.addresses[index]
    if outputs is not None:
        if output not in outputs:
            hint = did_you_mean(output, outputs, "Output ports")
            raise _RefusedError(f"{name} has no output port {output!r}", hint)
        if not port.accepts(outputs[output]):
            raise _RefusedError(
                f"{address}.{output} is {outputs[output]}, and the port takes {port}",
            )
    return Connection(address, output)
