"""Validates a tree with a pydantic model; turns what is wrong into problems with positions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import Problem
from pipeline.spec.suggest import did_you_mean
from pipeline.spec.tree import Node, Path, problem

ModelT = TypeVar("ModelT", bound=BaseModel)

_WANTED = {
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "string_type": "should be a text",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "set_type": "should be a list",
    "frozen_set_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "none_required": "should be null",
}


def validate(
    model: type[ModelT], node: Node, path: Path, *, noun: str = "field"
) -> tuple[ModelT | None, list[Problem]]:
    """The model of a tree, or everything that is wrong with it.

    Types are strict: "10" is no number and 1 is not true. Nothing is reported at a value whose
    `${...}` could not be replaced; that has been reported.

    Args:
        model: the pydantic model.
        node: the values; `broken` parts make the result None.
        path: where the tree stands, for messages.
        noun: what the model's entries are called: "field", "key".
    """
    broken = [where for where, part in node.walk() if part.broken]
    try:
        # As JSON, because strict JSON takes a list for a tuple, as a file must write it.
        value = model.model_validate_json(json.dumps(node.plain()), strict=True)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        faults = [_locate(error, node) for error in errors]
        faults = [fault for fault in _settle_unions(faults) if not _touches(fault.where, broken)]
        return None, [_explain(group, model, node, path, noun) for group in _grouped(faults)]
    return (None if broken else value), []


@dataclass(frozen=True)
class _Fault:
    """A pydantic error with its place in the tree.

    Attributes:
        where: path of the value, or of a field that is missing.
        union: path of the outermost union on the way there; None without one.
        branch: which alternative of that union this belongs to.
    """

    error: ErrorDetails
    node: Node
    where: Path
    union: Path | None
    branch: str


def _locate(error: ErrorDetails, root: Node) -> _Fault:
    """Walks the error's location; parts that are not in the tree name a union's alternative."""
    node = root
    where: Path = ()
    union: Path | None = None
    branch = ""
    location = error["loc"]
    for index, part in enumerate(location):
        child = node.child(part)
        is_last = index == len(location) - 1
        if child is not None:
            node, where = child, (*where, part)
        elif is_last and error["type"] == "missing":
            where = (*where, part)
        elif part != "[key]" and union is None:
            union, branch = where, str(part)
    return _Fault(error, node, where, union, branch)


def _settle_unions(faults: Sequence[_Fault]) -> list[_Fault]:
    """Of a union's alternatives keeps those whose type fits; all of them when none does."""
    deep: dict[Path, set[str]] = {}
    for fault in faults:
        if fault.union is None:
            continue
        if fault.where != fault.union or fault.error["type"] not in _WANTED:
            deep.setdefault(fault.union, set()).add(fault.branch)
    return [
        fault
        for fault in faults
        if fault.union is None or fault.union not in deep or fault.branch in deep[fault.union]
    ]


def _touches(where: Path, broken: Sequence[Path]) -> bool:
    """Whether a fault lies at, above or below a broken value; above, it may be its consequence."""
    return any(where[: len(one)] == one or one[: len(where)] == where for one in broken)


def _grouped(faults: Sequence[_Fault]) -> Iterator[list[_Fault]]:
    """Faults one by one, but the alternatives of a union at one value together."""
    groups: dict[tuple[Any, ...], list[_Fault]] = {}
    for index, fault in enumerate(faults):
        key = ("union", fault.where) if fault.union is not None else ("one", index)
        groups.setdefault(key, []).append(fault)
    yield from groups.values()


def _explain(
    group: Sequence[_Fault], model: type[BaseModel], root: Node, path: Path, noun: str
) -> Problem:
    fault = group[0]
    kind, node, where = fault.error["type"], fault.node, (*path, *fault.where)
    if kind == "extra_forbidden":
        known = _field_names(_model_at(model, fault.where[:-1]))
        hint = did_you_mean(str(fault.where[-1]), known, f"{noun.capitalize()}s")
        return problem(node.place, where, f"unknown {noun}", hint)
    if kind == "missing":
        owner = _model_at(model, fault.where[:-1])
        return problem(node.place, where, f"this {noun} is required", _description(owner, fault))
    if kind in ("value_error", "assertion_error"):
        message = str(fault.error.get("ctx", {}).get("error", fault.error["msg"]))
        # A validator of a whole block speaks of its fields: the block's key is the best place.
        place = node.place if isinstance(node.value, dict) else node.origin
        return problem(place, where, message)
    if fault.error["loc"][-1:] == ("[key]",):
        return problem(node.place, where, f"the name {_wanted(fault.error)}")
    first, *others = dict.fromkeys(_wanted(one.error) for one in group)
    wanted = " or ".join([first, *(other.removeprefix("should be ") for other in others)])
    fix = _fix(kind, node)
    if kind == "string_pattern_mismatch":
        fix = _description(_model_at(model, fault.where[:-1]), fault)
    return problem(node.origin, where, f"{wanted}, not {node.shown()}", fix)


def _wanted(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "literal_error":
        return f"should be {error['ctx']['expected']}"
    if kind == "string_pattern_mismatch":
        return f"should match {error['ctx']['pattern']}"
    if kind == "too_short":
        return f"should have {error['ctx']['min_length']} or more"
    if kind == "too_long":
        return f"should have {error['ctx']['max_length']} or fewer"
    text = error["msg"].removeprefix("Input ").removeprefix("Value ")
    return _WANTED.get(kind, text[:1].lower() + text[1:])


def _fix(kind: str, node: Node) -> str:
    value = node.value
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'Quote it: "{node.shown()}".' if not node.written else ""
    if kind.startswith("bool") and str(value).lower() in ("yes", "no", "on", "off"):
        return "In YAML 1.2 only true and false are."
    if kind.startswith("int") and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    if kind in ("int_type", "float_type") and isinstance(value, str) and not node.written:
        return "Remove the quotes." if _is_number(value) else ""
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _description(owner: type[BaseModel] | None, fault: _Fault) -> str:
    name = str(fault.where[-1]) if fault.where else ""
    for field_name, info in owner.model_fields.items() if owner else ():
        if name in (field_name, info.alias) and info.description:
            return f"It is: {info.description}."
    return ""


def _field_names(model: type[BaseModel] | None) -> list[str]:
    if model is None:
        return []
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that holds what stands under a path; None when no single one does."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [
            below for one in annotations for below in _below(one, part) if below is not None
        ]
    models = {one for top in annotations for one in _models_in(top)}
    return next(iter(models)) if len(models) == 1 else None


def _below(annotation: Any, part: str | int) -> Iterator[Any]:
    for kind in _models_in(annotation):
        for name, info in kind.model_fields.items():
            if part in (name, info.alias):
                yield info.annotation
        extra: Mapping[str, Any] = getattr(kind, "__annotations__", {})
        if part not in kind.model_fields and "__pydantic_extra__" in extra:
            yield from get_args(extra["__pydantic_extra__"])
        return
    # A container's parts: dict[str, Model], list[Model], tuple[Model, ...].
    yield from get_args(annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Models an annotation names directly or in a union, not inside a container."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = getattr(annotation, "__origin__", None)
    if isinstance(origin, type) and origin in (dict, list, tuple, set, frozenset, Mapping):
        return []
    return [one for part in get_args(annotation) for one in _models_in(part)]
