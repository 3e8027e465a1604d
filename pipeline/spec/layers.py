"""Lays a profile, values files and `--set` over the DAG file: a value replaces what stands there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import Problem, UserError
from pipeline.spec.blocks import FILE_KEYS, PROFILE_KEYS, STAGE_KEYS
from pipeline.spec.dag import Origin
from pipeline.spec.suggest import did_you_mean
from pipeline.spec.tree import Node, Path, problem, type_name
from pipeline.spec.yaml_reader import read_yaml

LAYERED_KEYS = ("name", "seed", "params", "stages", *PROFILE_KEYS)
"""What the tree under its layers holds: the file without its profiles, and one profile's keys."""


@dataclass(frozen=True)
class Overlay:
    """A value and the path it goes to; `node.key` is where the path is written."""

    path: tuple[str, ...]
    node: Node


class _NoPlaceError(Exception):
    """A path leads nowhere; says why and what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


def lay(root: Node, overlays: Sequence[Overlay]) -> tuple[Node, list[Problem]]:
    """The tree with each overlay in turn, and those that have no place in it.

    Args:
        root: a mapping with LAYERED_KEYS.
        overlays: weakest first.
    """
    problems = []
    for overlay in overlays:
        try:
            _check_head(root, overlay.path)
            root = _put(root, overlay.path, overlay.node, overlay.path)
        except _NoPlaceError as exc:
            where = ".".join(overlay.path)
            problems.append(problem(overlay.node.place, where, exc.message, exc.fix))
    return root, problems


def split_file(root: Node) -> tuple[Node, dict[str, Node], list[Problem]]:
    """The file without its profiles, the profiles by name, and unknown keys."""
    problems = [
        problem(node.place, key, "unknown key", did_you_mean(key, FILE_KEYS, "Keys"))
        for key, node in root.entries.items()
        if key not in FILE_KEYS
    ]
    profiles = root.entries.get("profiles")
    if profiles is not None and not isinstance(profiles.value, dict):
        problems.append(_not_a_mapping(profiles, ("profiles",)))
    known = {key: node for key, node in root.entries.items() if key in LAYERED_KEYS[:4]}
    return replace(root, value=known), dict(profiles.entries) if profiles else {}, problems


def profile_overlays(name: str, profile: Node) -> tuple[list[Overlay], list[Problem]]:
    """A profile's keys as overlays: its own go to the top."""
    path = ("profiles", name)
    if not isinstance(profile.value, dict):
        return [], [_not_a_mapping(profile, path)]
    overlays: list[Overlay] = []
    problems: list[Problem] = []
    for key, node in profile.value.items():
        head, dot, _ = key.partition(".")
        if key in PROFILE_KEYS or (dot and head in ("stages", "params")):
            overlays.append(Overlay(tuple(key.split(".")), _relayered(node, f"profile {name}")))
            continue
        hint = did_you_mean(key, (*PROFILE_KEYS, "stages.STAGE.KEY", "params.NAME"), "Keys")
        if key in ("stages", "params"):
            hint = f"Name the path of what changes, e.g. {key}.NAME."
        problems.append(problem(node.place, (*path, key), "unknown key", hint))
    return overlays, problems


def values_overlays(file: str, text: str) -> tuple[list[Overlay], list[Problem]]:
    """A `--values` file: dotted paths or mappings, down to leaves that replace what stands there."""
    try:
        root, problems = read_yaml(text, layer=f"values {file}", file=file)
    except UserError as exc:
        return [], list(exc.problems)
    if not isinstance(root.value, dict):
        fix = "Write paths and values, e.g. `params.steps: 10`."
        message = f"should be a mapping, not {type_name(root.value)}"
        return [], [*problems, problem(root.origin, "", message, fix)]
    found = [
        overlay
        for key, node in root.value.items()
        for overlay in _leaves(tuple(key.split(".")), node)
    ]
    return found, problems


def _leaves(path: tuple[str, ...], node: Node) -> Iterator[Overlay]:
    """A mapping as an overlay for each of its values: what it does not name stays."""
    if not node.entries:
        yield Overlay(path, node)
    for key, child in node.entries.items():
        yield from _leaves((*path, key), child)


def set_overlay(text: str) -> tuple[list[Overlay], list[Problem]]:
    """A `--set PATH=VALUE`; the value is YAML, nothing is null."""
    path, equals, value = text.partition("=")
    path = path.strip()
    origin = Origin("--set", "--set")
    if not equals or not path:
        fix = "Write --set PATH=VALUE, e.g. --set params.steps=10."
        return [], [problem(origin, "", f"{text!r} has no path or no =", fix)]
    if not value.strip():
        node = Node(None, origin)
        problems: list[Problem] = []
    else:
        try:
            node, problems = read_yaml(value, layer="--set", file="--set", positions=False)
        except UserError as exc:
            return [], [replace(one, path=path) for one in exc.problems]
    problems = [replace(one, path=f"{path}.{one.path}".rstrip(".")) for one in problems]
    return [Overlay(tuple(path.split(".")), replace(node, key=origin))], problems


def _relayered(node: Node, layer: str) -> Node:
    """The same tree, said to come from another layer of the same file."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _relayered(child, layer) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_relayered(child, layer) for child in value]
    key = replace(node.key, layer=layer) if node.key else None
    return replace(node, value=value, origin=replace(node.origin, layer=layer), key=key)


def _check_head(root: Node, path: tuple[str, ...]) -> None:
    """Whether the first parts of a path, whose names are known, exist."""
    if path[0] not in LAYERED_KEYS:
        raise _NoPlaceError("unknown path", did_you_mean(path[0], LAYERED_KEYS, "Paths begin with"))
    if path[0] == "stages":
        stages = root.entries.get("stages")
        known = stages.entries if stages else {}
        if len(path) == 1:
            raise _NoPlaceError("replaces every stage", "Name one, e.g. stages.pretrain.with.")
        if path[1] not in known:
            raise _NoPlaceError(
                f"there is no stage {path[1]}", did_you_mean(path[1], known, "Stages")
            )
        if len(path) > 2 and path[2] not in STAGE_KEYS:
            raise _NoPlaceError("unknown key", did_you_mean(path[2], STAGE_KEYS, "Keys"))
    if path[0] == "params" and len(path) > 1:
        params = root.entries.get("params")
        known = params.entries if params else {}
        if path[1] not in known:
            raise _NoPlaceError(
                f"there is no param {path[1]}", did_you_mean(path[1], known, "Params")
            )


def _put(node: Node, path: Sequence[str], new: Node, whole: Path) -> Node:
    """A copy of the tree with `new` at the path; mappings on the way are made as needed."""
    part = path[0]
    if isinstance(node.value, list):
        if not part.isdecimal() or int(part) >= len(node.value):
            raise _NoPlaceError(f"there is no item {part}", f"Items: 0 to {len(node.value) - 1}.")
        index = int(part)
        items = list(node.value)
        items[index] = _put(items[index], path[1:], new, whole) if path[1:] else new
        return replace(node, value=items)
    if not isinstance(node.value, dict):
        above = ".".join(map(str, whole[: len(whole) - len(path)]))
        raise _NoPlaceError(
            f"{above} is {type_name(node.value)}, with nothing below it", f"Set {above} as a whole."
        )
    entries: dict[str, Node] = dict(node.value)
    if not path[1:]:
        # The key stays where the file has it, so that messages about the key find it there.
        entries[part] = new
    else:
        below = entries.get(part) or Node({}, new.place, new.key)
        entries[part] = _put(below, path[1:], new, whole)
    return replace(node, value=entries)


def _not_a_mapping(node: Node, path: Path) -> Problem:
    return problem(node.origin, path, f"should be a mapping, not {type_name(node.value)}")
