"""The JSON Schema of a DAG file, for editors; `load_dag` checks more than a schema can say."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.spec.blocks import NAME_PATTERN, DagBlock, ProfileBlock, StageBlock
from pipeline.spec.kinds import list_kinds
from pipeline.spec.stage import StageSpec

_REFERENCE = {"$ref": "#/$defs/reference"}


def dag_schema(kinds: Sequence[StageSpec] | None = None) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a whole file; `with:` is checked by what `uses:` says.

    Args:
        kinds: stage kinds it knows; default: every installed one.
    """
    kinds = list_kinds() if kinds is None else kinds
    blocks: list[type[BaseModel]] = [DagBlock, ProfileBlock, StageBlock]
    models = [*blocks, *dict.fromkeys(kind.config for kind in kinds)]
    found, merged = models_json_schema([(model, "validation") for model in models])
    refs = {model: found[model, "validation"] for model in models}
    definitions = {name: _open(schema) for name, schema in merged["$defs"].items()}
    definitions["reference"] = {
        "type": "string",
        "pattern": r"^\$\{(params|matrix|env)\.[^}]+\}$",
        "description": "a value that stands elsewhere",
    }
    stage = definitions[_name(refs[StageBlock])]
    stage["properties"]["uses"] = {
        "description": "the stage kind",
        "anyOf": [
            {"enum": [kind.name for kind in kinds]},
            {"type": "string", "pattern": r"\.py:\w+$"},
            _REFERENCE,
        ],
    }
    stage["allOf"] = [_with_of(kind, refs[kind.config]) for kind in kinds]
    profile = definitions[_name(refs[ProfileBlock])]
    profile["patternProperties"] = {r"^(stages|params)\.": {"description": "path and value"}}
    head = definitions.pop(_name(refs[DagBlock]))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dag.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "stages"],
        "properties": head["properties"]
        | {
            "params": _named({}, "values that ${params.NAME} stands for"),
            "stages": _named(refs[StageBlock], "what shall be done, by name")
            | {"minProperties": 1},
            "profiles": {
                "type": "object",
                "description": "places to run and what changes there",
                "additionalProperties": refs[ProfileBlock],
            },
        },
        "$defs": definitions,
    }


def _with_of(kind: StageSpec, ref: Any) -> dict[str, Any]:
    condition = {"properties": {"uses": {"const": kind.name}}, "required": ["uses"]}
    return {"if": condition, "then": {"properties": {"with": ref}}}


def _named(schema: Any, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": schema,
    }


def _name(ref: Any) -> str:
    return str(ref["$ref"]).rsplit("/", 1)[-1]


def _open(schema: Any) -> Any:
    """The schema where every value may also be a `${...}`."""
    if isinstance(schema, list):
        return [_open(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    opened = {key: _open(part) for key, part in schema.items()}
    for key in ("properties", "patternProperties"):
        if isinstance(schema.get(key), dict):
            opened[key] = {name: _or_reference(_open(part)) for name, part in schema[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            opened[key] = _or_reference(opened[key])
    return opened


def _or_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """Keeps title, description and default where editors look for them."""
    annotations = ("title", "description", "default")
    outer: dict[str, Any] = {key: schema[key] for key in annotations if key in schema}
    inner = {key: part for key, part in schema.items() if key not in outer}
    return {**outer, "anyOf": [inner, _REFERENCE]} if inner else schema
