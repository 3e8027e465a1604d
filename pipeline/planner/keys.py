"""Keys: what a result depends on, as flat parts, and the digests of them.

The plan key names the stages that the inputs come from and is known before anything runs; the
content key names what the inputs hold. Placement is in neither: nodes, ranks, workers, the ZeRO
stage, retries and the executor may change between two runs that share their results.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from importlib import metadata
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from pipeline.cache.results import KeyPart
from pipeline.planner.digests import Digests
from pipeline.planner.inputs import Inputs
from pipeline.planner.plan import Action, PlannedStage
from pipeline.spec.config import SourceText, Unkeyed
from pipeline.spec.dag import Stage
from pipeline.spec.job import content_key_of
from pipeline.spec.stage import Launch
from pipeline.storage.digests import canonical_json, digest_of

_VERSION = 1
"""Of the rules below; raising it makes every result a miss."""
_Path = tuple[str | int, ...]
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def planned_stage(stage: Stage, plan_keys: Mapping[str, str], digests: Digests) -> PlannedStage:
    """A stage with its keys, yet to be looked up: its action is RUN, without a reason.

    Args:
        stage: as read from the DAG, or a driver's cell.
        plan_keys: address -> plan key of every stage upstream.
        digests: of code, sources and the machine.

    Raises:
        StoreError: a source cannot be read.
    """
    parts = key_parts(stage, plan_keys, digests)
    return PlannedStage(
        stage=stage,
        key_parts=parts,
        plan_key=digest_of("plan", parts),
        code_digest=digest_of("code", {n: v for n, v in parts.items() if n.startswith("code.")}),
        action=Action.RUN,
        reasons=(),
        artifacts={},
    )


def key_parts(
    stage: Stage, plan_keys: Mapping[str, str], digests: Digests
) -> Mapping[str, KeyPart]:
    """Everything the outputs of a stage depend on; arguments as in `planned_stage`."""
    parts: dict[str, KeyPart] = {"version": _VERSION, "kind": stage.spec.name}
    for path, name, value in _flat(stage.config, (), ""):
        if isinstance(value, SourceText):
            parts[f"source.{name}"] = digests.source(value)
        elif variables := stage.environment.get(path):
            # Key parts are recorded and printed; what came from the environment may be a secret.
            names = " ".join(f"${{env.{variable}}}" for variable in variables)
            parts[f"with.{name}"] = f"{names}#{digest_of('environment', _scalar(value))[:16]}"
        else:
            parts[f"with.{name}"] = _scalar(value)
    for port, connections in stage.inputs.items():
        for name, one in zip(input_parts(port, len(connections)), connections, strict=True):
            parts[name] = f"{plan_keys[one.stage]}/{one.port}"
    if stage.spec.depends_on_seed(stage.config):
        parts["seed"] = stage.seed
    if stage.spec.launch is Launch.GANG:
        parts["precision"] = stage.engine.precision
    if stage.spec.device_matters:
        parts["device"] = digests.device()
    for library in stage.spec.libraries:
        parts[f"library.{library}"] = _version(library)
    code = digests.code(stage.spec, stage.kind)
    return parts | {f"code.{name}": digest for name, digest in code.items()}


def source_parts(stage: Stage) -> dict[str, str]:
    """Key part of a Source -> what it names: `source.files` -> "/data/reviews"."""
    found = _flat(stage.config, (), "")
    return {f"source.{name}": value for _, name, value in found if isinstance(value, SourceText)}


def input_parts(port: str, count: int) -> list[str]:
    """Names of the key parts of a port's connections: `input.shards`, or `input.scores[0]`, ..."""
    return [f"input.{port}"] if count == 1 else [f"input.{port}[{n}]" for n in range(count)]


def content_key(planned: PlannedStage, inputs: Inputs) -> str:
    """The key with the artifacts' digests in place of the stages they come from.

    Args:
        planned: the stage.
        inputs: port -> artifact digest, or the list of a `many` port.
    """
    return content_key_of(planned.key_parts, inputs)


def _flat(value: Any, path: _Path, name: str) -> Iterator[tuple[_Path, str, Any]]:
    """Every scalar with its path and a name no other has: `model.layers[0]`, `"a.b"`, `tags[]`."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        kept = {key: part for key, part in value if not _is_unkeyed(fields.get(key))}
        yield from _flat(kept, path, name)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            text = str(key)
            plain = text if _PLAIN_NAME.fullmatch(text) else json.dumps(text)
            yield from _flat(part, (*path, text), f"{name}.{plain}" if name else plain)
        if not value:
            yield path, f"{name}{{}}", None
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _flat(part, (*path, number), f"{name}[{number}]")
        if not value:
            yield path, f"{name}[]", None
    elif isinstance(value, Set):
        # The order of a set differs from process to process.
        ordered = sorted(value, key=lambda item: canonical_json(to_jsonable_python(item)))
        yield from _flat(ordered, path, name)
    else:
        yield path, name, value


def _is_unkeyed(field: FieldInfo | None) -> bool:
    return field is not None and any(isinstance(mark, Unkeyed) for mark in field.metadata)


def _scalar(value: Any) -> KeyPart:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float {value}"  # JSON has no word for it
    plain = to_jsonable_python(value)
    if plain is None or isinstance(plain, str | int | float | bool):
        return plain
    # A type of the method's own that writes itself as something larger.
    return canonical_json(plain).decode()


@cache
def _version(library: str) -> str:
    # Asked for every stage; reading a distribution's metadata takes a millisecond.
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
