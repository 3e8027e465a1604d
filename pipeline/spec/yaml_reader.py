"""Reads YAML 1.2 (core schema) into a tree of nodes with positions; builds no Python objects.

Positions, limits and the refusal of tags are the reason to compose nodes here and not in a library.
"""

from collections.abc import Iterator
from pathlib import Path as FilePath

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from pipeline.errors import Problem, UserError
from pipeline.spec.dag import Origin
from pipeline.spec.scalars import Scalar, resolve_scalar
from pipeline.spec.tree import Node, Path, problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
"""Values after aliases are expanded; a 200-stage DAG has about 10,000."""


def read_file(file: FilePath) -> str:
    """The text of a YAML file.

    Raises:
        UserError: it is absent, too large or not UTF-8.
    """
    if file.exists() and not file.is_file():
        # A pipe would be waited for, as long as nobody writes into it.
        raise UserError([Problem(str(file), 0, 0, "", "is no regular file")])
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        msg = f"cannot be read: {exc.strerror}"
        raise UserError([Problem(str(file), 0, 0, "", msg)]) from exc
    if len(data) > MAX_BYTES:
        msg = f"is larger than {MAX_BYTES >> 20} MiB"
        raise UserError([Problem(str(file), 0, 0, "", msg)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        column = exc.start - data.rfind(b"\n", 0, exc.start)
        msg = f"byte 0x{data[exc.start]:02x} is not UTF-8"
        raise UserError([Problem(str(file), line, column, "", msg)]) from exc


def read_yaml(
    text: str, *, layer: str, file: str, positions: bool = True
) -> tuple[Node, list[Problem]]:
    """One YAML document as a tree, and what is wrong with it short of its syntax.

    Args:
        text: the document.
        layer: the Origin layer of its values.
        file: what problems call the file.
        positions: False for a text that stands in no file.

    Raises:
        UserError: the syntax is broken, or a limit is exceeded; nothing after that can be read.
    """
    return _Composer(text, layer, file, positions=positions).document()


class _Composer:
    """Turns the parser's events into nodes; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, layer: str, file: str, *, positions: bool) -> None:
        self._text = text
        self._layer = layer
        self._file = file
        self._positions = positions
        self._problems: list[Problem] = []
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._num_nodes = 0

    def document(self) -> tuple[Node, list[Problem]]:
        events = self._events()
        next(events)  # the stream's start
        start = next(events)
        if not isinstance(start, DocumentStartEvent):
            raise self._fatal(start, (), "the file is empty", "A DAG needs `name` and `stages`.")
        if start.version is not None and tuple(start.version) != (1, 2):
            raise self._fatal(start, (), "only YAML 1.2 is read", "Remove the %YAML line.")
        root, _ = self._node(next(events), events, ())
        next(events)  # the document's end
        after = next(events)
        if isinstance(after, DocumentStartEvent):
            raise self._fatal(after, (), "a second document begins", "One file is one DAG.")
        return root, self._problems

    def _events(self) -> Iterator[Event]:
        try:
            yield from YAML(typ="safe", pure=True).parse(self._text)
        except MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            has_place = mark is not None and self._positions
            line, column = (mark.line + 1, mark.column + 1) if has_place else (0, 0)
            context = f" {exc.context}" if exc.context else ""
            msg = f"YAML syntax: {exc.problem or 'broken'}{context}"
            raise UserError([Problem(self._file, line, column, "", msg)]) from exc
        except YAMLError as exc:
            msg = f"YAML syntax: {str(exc).splitlines()[0]}"
            raise UserError([Problem(self._file, 0, 0, "", msg)]) from exc

    def _node(self, event: Event, events: Iterator[Event], path: Path) -> tuple[Node, int]:
        """The node that begins with this event, and how deep it goes."""
        self._count(event, path, 1)
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        assert isinstance(event, ScalarEvent | CollectionStartEvent)  # by the parser's grammar
        if event.ctag is not None:
            hint = "Write the plain value; quotes make a text."
            self._problem(event, path, f"the tag {event.tag} is not read", hint)
        if len(path) > MAX_DEPTH:
            raise self._fatal(event, (), f"nested deeper than {MAX_DEPTH} levels", "")
        anchor, before = event.anchor, self._num_nodes
        if anchor is not None:
            self._anchors[anchor] = None  # an alias inside its own anchor has no end
        depth = 0
        if isinstance(event, ScalarEvent):
            node = Node(self._scalar(event, path), self._origin(event))
        elif isinstance(event, SequenceStartEvent):
            node, depth = self._sequence(event, events, path)
        else:
            node, depth = self._mapping(event, events, path)
        if anchor is not None:
            self._anchors[anchor] = (node, self._num_nodes - before, depth)
        return node, depth

    def _alias(self, event: AliasEvent, path: Path) -> tuple[Node, int]:
        found = self._anchors.get(event.anchor)
        if found is None:
            what = "stands inside itself" if event.anchor in self._anchors else "has no anchor"
            raise self._fatal(event, path, f"the alias *{event.anchor} {what}", "")
        node, num_nodes, depth = found
        self._count(event, path, num_nodes)
        if len(path) + depth > MAX_DEPTH:
            raise self._fatal(event, (), f"nested deeper than {MAX_DEPTH} levels", "")
        return node, depth

    def _sequence(self, start: Event, events: Iterator[Event], path: Path) -> tuple[Node, int]:
        items: list[Node] = []
        deepest = 0
        while not isinstance(event := next(events), SequenceEndEvent):
            item, depth = self._node(event, events, (*path, len(items)))
            items.append(item)
            deepest = max(deepest, depth + 1)
        return Node(items, self._origin(start)), deepest

    def _mapping(self, start: Event, events: Iterator[Event], path: Path) -> tuple[Node, int]:
        entries: dict[str, Node] = {}
        deepest = 0
        while not isinstance(event := next(events), MappingEndEvent):
            key = self._key(event, events, path)
            value = next(events)
            node, depth = self._node(value, events, (*path, key or "?"))
            deepest = max(deepest, depth + 1)
            if key is None:
                continue
            if key in entries:
                first = entries[key].place
                message = f"the key stands twice; first in line {first.line}"
                self._problem(event, (*path, key), message, "Remove one of them.")
                continue
            place = self._origin(event)
            # Where nothing is written the parser points at what comes next, lines below.
            is_empty = isinstance(value, ScalarEvent) and not value.value and value.implicit[0]
            entries[key] = Node(node.value, place if is_empty else node.origin, place)
        return Node(entries, self._origin(start)), deepest

    def _key(self, event: Event, events: Iterator[Event], path: Path) -> str | None:
        if not isinstance(event, ScalarEvent):
            self._node(event, events, path)
            self._problem(event, path, "a key must be a text", "")
            return None
        if event.ctag is not None or event.anchor is not None:
            self._problem(event, path, "a key takes no tag and no anchor", "Remove it.")
        text = self._checked_text(event, str(event.value), path)
        if event.implicit[0] and text == "<<":
            hint = "Repeat the keys, or put them into params."
            self._problem(event, path, "merge keys (<<) are not in YAML 1.2", hint)
            return None
        if event.implicit[0] and not isinstance(self._scalar(event, path), str):
            self._problem(event, (*path, text), "a key must be a text", f'Quote it: "{text}".')
        return text

    def _scalar(self, event: ScalarEvent, path: Path) -> Scalar:
        text = str(event.value)
        if not event.implicit[0]:
            return self._checked_text(event, text, path)
        try:
            return resolve_scalar(text)
        except ValueError as exc:
            self._problem(event, path, f"{text[:40]} {exc}", "")
            return 0

    def _checked_text(self, event: ScalarEvent, text: str, path: Path) -> str:
        r"""A quoted text, unless an escape such as "\ud800" made what no file can hold."""
        if event.style == '"' and not _is_unicode(text):
            self._problem(event, path, "half a surrogate pair is no character", "")
            return ""
        return text

    def _count(self, event: Event, path: Path, num_nodes: int) -> None:
        self._num_nodes += num_nodes
        if self._num_nodes > MAX_NODES:
            message = f"more than {MAX_NODES} values, aliases expanded"
            raise self._fatal(event, path, message, "Use params instead of aliases.")

    def _origin(self, event: Event) -> Origin:
        if not self._positions:
            return Origin(self._layer, self._file)
        mark = event.start_mark
        return Origin(self._layer, self._file, mark.line + 1, mark.column + 1)

    def _problem(self, event: Event, path: Path, message: str, fix: str) -> None:
        self._problems.append(problem(self._origin(event), path, message, fix))

    def _fatal(self, event: Event, path: Path, message: str, fix: str) -> UserError:
        return UserError([*self._problems, problem(self._origin(event), path, message, fix)])


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)
