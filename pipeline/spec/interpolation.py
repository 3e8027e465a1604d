"""Replaces `${params.x}`, `${matrix.x}` and `${env.X}` in a tree; there is no other templating."""

import re
from collections.abc import Mapping
from dataclasses import replace

from pipeline.errors import Problem
from pipeline.spec.dag import Origin
from pipeline.spec.scalars import scalar_text
from pipeline.spec.suggest import did_you_mean
from pipeline.spec.tree import Node, Path, problem, type_name
from pipeline.spec.yaml_reader import MAX_DEPTH

MAX_TEXT = 1 << 16
"""Characters of a text after replacement: params may multiply one another."""
MAX_VALUES = 100_000
"""Values that one reference brings in; ten times that for the whole file."""
MAX_CHAIN = 32
"""Params that refer to one another in a row."""
_TOKEN = re.compile(
    r"(\$\$\{)|\$\{(params|matrix|env)\.([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}|(\$\{[^}]*\}?)"
)
_NAMESPACES = ("params", "matrix", "env")


class Interpolator:
    """One reading of a DAG: its params, each resolved once, and the environment.

    With `keep` the tree is for people and records: `${env.X}`, `${matrix.x}` and `$${` stay.

    Attributes:
        problems: what could not be replaced.
        environment: the variables used so far.
    """

    def __init__(
        self, params: Mapping[str, Node], environ: Mapping[str, str], *, keep: bool = False
    ) -> None:
        self.problems: list[Problem] = []
        self.environment: dict[str, str] = {}
        self._raw = params
        self._environ = environ
        self._keep = keep
        self._params: dict[str, Node | None] = {}
        self._stack: list[str] = []
        self._sizes: dict[int, tuple[Node, int, int]] = {}
        self._num_values = 0
        self._axes: Mapping[str, Node] | None = None
        self._used_axes: set[str] = set()

    def params(self) -> Mapping[str, Node]:
        """Every param with its references replaced; those that cannot be are left out."""
        resolved = {name: self._param(name) for name in self._raw}
        return {name: node for name, node in resolved.items() if node is not None}

    def replace_in(
        self, node: Node, path: Path, *, axes: Mapping[str, Node] | None = None
    ) -> tuple[Node, set[str]]:
        """A tree with its references replaced, and the matrix axes it used.

        Args:
            node: the tree; parts without references are shared, not copied.
            path: where it stands.
            axes: this cell's matrix values; None outside a stage.
        """
        self._axes, self._used_axes = axes, set()
        return self._node(node, path), self._used_axes

    def _node(self, node: Node, path: Path) -> Node:
        value = node.value
        if isinstance(value, str):
            return self._text(node, value, path) if "${" in value else node
        if isinstance(value, dict):
            entries = {key: self._node(child, (*path, key)) for key, child in value.items()}
            same = all(entries[key] is child for key, child in value.items())
            return node if same else replace(node, value=entries)
        if isinstance(value, list):
            items = [self._node(child, (*path, index)) for index, child in enumerate(value)]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return node if same else replace(node, value=items)
        return node

    def _text(self, node: Node, text: str, path: Path) -> Node:
        whole = _TOKEN.fullmatch(text)
        if whole is not None and whole[2]:
            found = self._lookup(node, whole[2], whole[3], path)
            if found is None:
                return replace(node, broken=True)
            return Node(found.value, found.origin, node.key, written=text)
        parts: list[str] = []
        broken = False
        environment: list[str] = []
        end = 0
        for match in _TOKEN.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            part = self._embedded(node, match, path)
            broken = broken or part is None
            parts.append("" if part is None else str(part.value))
            environment += part.origin.environment if part else ()
        result = "".join([*parts, text[end:]])
        if len(result) > MAX_TEXT:
            self._problem(node, path, f"becomes longer than {MAX_TEXT} characters", "")
            broken = True
        if broken:
            return replace(node, broken=True)
        origin = replace(node.origin, environment=tuple(dict.fromkeys(environment)))
        return Node(result, origin, node.key, written=text)

    def _embedded(self, node: Node, match: re.Match[str], path: Path) -> Node | None:
        escape, namespace, name, other = match.groups()
        if escape:
            return Node(escape if self._keep else "${", node.origin)
        if other:
            known = ", ".join(f"${{{one}.NAME}}" for one in _NAMESPACES)
            fix = f"Write {known}, or ${other} for the text itself."
            self._problem(node, path, f"{other} is no reference", fix)
            return None
        found = self._lookup(node, namespace, name, path)
        if found is None:
            return None
        if found.value is None or isinstance(found.value, dict | list):
            message = f"{match[0]} is {type_name(found.value)} and cannot be part of a text"
            self._problem(node, path, message, "Let it stand alone.")
            return None
        return replace(found, value=scalar_text(found.value))

    def _lookup(self, node: Node, namespace: str, name: str, path: Path) -> Node | None:
        if namespace == "env":
            return self._variable(node, name, path)
        if namespace == "matrix":
            return self._axis(node, name, path)
        return self._param_part(node, name, path)

    def _param_part(self, node: Node, name: str, path: Path) -> Node | None:
        """A param, or what stands below it at a dotted name."""
        first, *below = name.split(".")
        if first not in self._raw:
            hint = did_you_mean(first, self._raw, "Params")
            self._problem(node, path, f"${{params.{name}}}: there is no such param", hint)
            return None
        found = self._param(first)
        for part in below:
            if found is None:
                return None
            child = found.child(int(part) if part.isdecimal() else part)
            if child is None:
                hint = did_you_mean(part, found.entries, "Keys")
                self._problem(node, path, f"${{params.{name}}}: there is no {part}", hint)
            found = child
        if found is None or found.broken:
            return None
        if not self._fits(found):
            message = f"${{params.{name}}} brings in too much: {MAX_VALUES} values are the limit"
            self._problem(node, path, message, "")
            return None
        return found

    def _param(self, name: str) -> Node | None:
        """A param with its references replaced; None when it is part of a circle."""
        if name in self._params:
            return self._params[name]
        node = self._raw[name]
        if name in self._stack:
            circle = " -> ".join([*self._stack[self._stack.index(name) :], name])
            self._problem(node, ("params", name), f"refers to itself: {circle}", "")
            return None
        if len(self._stack) >= MAX_CHAIN:
            message = f"more than {MAX_CHAIN} params refer to one another in a row"
            self._problem(node, ("params", name), message, "")
            return None
        axes, used = self._axes, self._used_axes
        self._stack.append(name)
        self._axes = None
        self._params[name] = self._node(node, ("params", name))
        self._stack.pop()
        self._axes, self._used_axes = axes, used
        return self._params[name]

    def _fits(self, node: Node) -> bool:
        """Whether a tree may be brought in once more."""
        _, size, depth = self._measure(node)
        self._num_values += size
        return size <= MAX_VALUES and depth <= MAX_DEPTH and self._num_values <= 10 * MAX_VALUES

    def _measure(self, node: Node) -> tuple[Node, int, int]:
        """Values and levels of a tree; shared parts count each time, but are walked once."""
        known = self._sizes.get(id(node))
        if known is None:
            below = node.value if isinstance(node.value, list) else node.entries.values()
            found = [self._measure(child) for child in below]
            size = 1 + sum(size for _, size, _ in found)
            # The node is kept with its size, so that no other node gets its id.
            known = node, size, 1 + max((depth for *_, depth in found), default=0)
            self._sizes[id(node)] = known
        return known

    def _variable(self, node: Node, name: str, path: Path) -> Node | None:
        if name not in self._environ:
            fix = f"Run it with {name}=... pipeline."
            self._problem(node, path, f"the environment has no variable {name}", fix)
            return None
        value = self._environ[name]
        try:
            value.encode()
        except UnicodeEncodeError:
            self._problem(node, path, f"the variable {name} is not UTF-8", "")
            return None
        self.environment[name] = value
        origin = replace(node.origin, environment=(name,))
        return Node(f"${{env.{name}}}" if self._keep else value, origin)

    def _axis(self, node: Node, name: str, path: Path) -> Node | None:
        if self._keep:
            return Node(f"${{matrix.{name}}}", node.origin)
        if not self._axes:
            self._problem(node, path, f"${{matrix.{name}}}: there is no matrix here", "")
            return None
        if name not in self._axes:
            hint = did_you_mean(name, self._axes, "Axes")
            self._problem(node, path, f"${{matrix.{name}}}: there is no such axis", hint)
            return None
        self._used_axes.add(name)
        return self._axes[name]

    def _problem(self, node: Node, path: Path, message: str, fix: str) -> None:
        origin: Origin = node.origin
        self.problems.append(problem(origin, path, message, fix))
