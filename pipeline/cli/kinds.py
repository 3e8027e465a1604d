"""`pipeline stages` and `pipeline schema`: what a DAG file may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import Output, OutputFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.spec.ports import Port
    from pipeline.spec.stage import StageSpec

KindName = Annotated[
    str | None,
    typer.Argument(
        metavar="KIND", help="Only this kind, or ./my_stage.py:SPEC, with all its fields."
    ),
]


def stages(kind: KindName = None, output: OutputFormat = Output.TEXT) -> None:
    """Lists the stage kinds; with KIND, its config fields, ports and scores."""
    # Deferred: pydantic and every installed kind are loaded here, and only here.
    from pipeline.errors import UserError
    from pipeline.spec.kinds import list_kinds, resolve_kind

    if kind is not None and ".py:" in kind:
        kinds = {kind: resolve_kind(kind, Path.cwd())}
    else:
        kinds = {spec.name: spec for spec in list_kinds()}
    if kind is not None and kind not in kinds:
        msg = f"there is no stage kind {kind!r}. Installed: {', '.join(sorted(kinds))}"
        raise UserError(msg)
    chosen = [kinds[kind]] if kind else [kinds[name] for name in sorted(kinds)]
    if output is Output.JSON:
        print(json.dumps([describe_kind(spec) for spec in chosen], indent=2))
    elif kind:
        print(_page(describe_kind(chosen[0])))
    else:
        for spec in chosen:
            print(f"{spec.name:24}{spec.launch:10}{_first_line(spec)}")


def schema() -> None:
    """Prints the JSON Schema of a DAG file, for editors."""
    # Deferred as above.
    from pipeline.spec.schema import dag_schema

    print(json.dumps(dag_schema(), indent=2))


def describe_kind(spec: StageSpec) -> dict[str, Any]:
    """A stage kind as plain data: launch form, ports, config fields, scores."""
    return {
        "name": spec.name,
        "launch": str(spec.launch),
        "summary": _first_line(spec),
        "inputs": _ports(spec.inputs),
        "outputs": _ports(spec.outputs),
        "config": spec.config.model_json_schema(),
        "scores": [vars(score) for score in spec.scores],
    }


def _first_line(spec: StageSpec) -> str:
    return (spec.config.__doc__ or "").strip().split("\n")[0]


def _ports(ports: Mapping[str, Port]) -> dict[str, str]:
    return {
        name: f"{port}{', many' if port.many else ''}{', optional' if port.optional else ''}"
        for name, port in ports.items()
    }


def _page(kind: Mapping[str, Any]) -> str:
    lines = [f"{kind['name']}  ({kind['launch']})", f"  {kind['summary']}"]
    for title in ("inputs", "outputs"):
        lines += [f"{title}:"] + [f"  {name}: {port}" for name, port in kind[title].items()]
    lines.append("with:")
    lines += _fields(kind["config"], kind["config"].get("$defs", {}), "  ")
    if kind["scores"]:
        lines.append("scores:")
        lines += [f"  {s['name']} ({s['unit']}): {s['meaning']}" for s in kind["scores"]]
    return "\n".join(lines)


def _fields(model: Mapping[str, Any], definitions: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for name, field in model.get("properties", {}).items():
        reference = field.get("$ref") or next(iter(field.get("allOf", [{}]))).get("$ref")
        default = f" = {json.dumps(field['default'])}" if "default" in field else ""
        nested = definitions.get(str(reference).rsplit("/", 1)[-1]) if reference else None
        is_model = bool(nested and "properties" in nested)
        text = f" - {field['description']}" if "description" in field else ""
        lines.append(f"{indent}{name}: {_type(field)}{'' if is_model else default}{text}")
        if nested and is_model:
            lines += _fields(nested, definitions, indent + "  ")
    if isinstance(others := model.get("additionalProperties"), dict):
        lines.append(f"{indent}NAME: {_type(others)}, any number of them")
        nested = definitions.get(str(others.get("$ref")).rsplit("/", 1)[-1])
        lines += _fields(nested, definitions, indent + "  ") if nested else []
    return lines


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(json.dumps(value) for value in field["enum"])
    if "const" in field:
        return json.dumps(field["const"])
    if "anyOf" in field:
        return " | ".join(_type(option) for option in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "any"))
