"""A DAG file as a tree of values that each know where they were written."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Problem
from pipeline.spec.dag import Origin
from pipeline.spec.scalars import Scalar

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file.

    Attributes:
        value: a scalar, a list of nodes, or a mapping of nodes in file order.
        origin: where the value stands.
        key: where its key stands; None for list items and roots.
        written: the text with the `${...}` that gave this value; "" when there was none.
        broken: its references could not be replaced, which has been reported.
    """

    value: "Scalar | list[Node] | dict[str, Node]"
    origin: Origin
    key: Origin | None = None
    written: str = ""
    broken: bool = False

    @property
    def entries(self) -> "dict[str, Node]":
        """The mapping's nodes; empty when this is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def place(self) -> Origin:
        """Where its key stands, or the value itself when it has none."""
        return self.key or self.origin

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, path: Path = ()) -> "Iterator[tuple[Path, Node]]":
        """Every node below and including this one, with its path."""
        yield path, self
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.walk((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.walk((*path, index))

    def find(self, path: Path) -> "tuple[Node, Path]":
        """The deepest node on a path, and what of the path is left below it."""
        node = self
        for depth, part in enumerate(path):
            below = node.child(part)
            if below is None:
                return node, path[depth:]
            node = below
        return node, ()

    def child(self, part: str | int) -> "Node | None":
        """The node under a key or at an index, if there is one."""
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int):
            return self.value[part] if 0 <= part < len(self.value) else None
        return None

    def shown(self) -> str:
        """The value as an error message quotes it; never what came from the environment."""
        text = json.dumps(self._public(), ensure_ascii=False)
        text = text if len(text) <= 60 else f"{text[:57]}..."
        if self.written and self.written != self._public():
            return f"{text} ({self.written})"
        return text

    def _public(self) -> Any:
        """`plain` with a text that holds something of the environment as it was written."""
        if self.origin.environment:
            return self.written or f"${{env.{self.origin.environment[0]}}}"
        if isinstance(self.value, dict):
            return {key: node._public() for key, node in self.value.items()}  # noqa: SLF001 - its own kind
        if isinstance(self.value, list):
            return [node._public() for node in self.value]  # noqa: SLF001 - as above
        return self.value


def dotted(path: Path) -> str:
    """`stages.pretrain.with.train.steps`; list items by their index."""
    return ".".join(map(str, path))


def problem(origin: Origin, path: Path | str, message: str, fix: str = "") -> Problem:
    """A problem at a place."""
    where = path if isinstance(path, str) else dotted(path)
    texts = (_printable(text) for text in (where, message, fix))
    return Problem(origin.file, origin.line, origin.column, *texts)


def _printable(text: str) -> str:
    """One line without control characters: a key or value may hold any, escapes included."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def type_name(value: object) -> str:
    """What a user calls the type of a node's value."""
    if value is None:
        return "null"
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")
