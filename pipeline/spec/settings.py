"""Every value a stage was given, with the place it comes from; what a person is shown of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.spec.dag import Origin, Stage


@dataclass(frozen=True)
class Setting:
    """A value as text and its place: "default", "file /a/dag.yaml:12", "--set".

    The text is JSON; of a value that came from the environment it is `${env.NAME}`, for what the
    variable holds may be a secret.
    """

    text: str
    origin: str


def settings_of(stage: Stage) -> Mapping[str, Setting]:
    """Path below the stage, e.g. `with.train.steps` -> setting; defaults too, in file order."""
    blocks = {
        "with": stage.config.model_dump(mode="json"),
        "resources": stage.resources.model_dump(mode="json"),
        "deepspeed": stage.engine.model_dump(mode="json"),
        "retry": stage.retry.model_dump(mode="json"),
        "seed": stage.seed,
        "timeout_seconds": stage.timeout_seconds,
        "max_parallel": stage.max_parallel,
    }
    base = f"stages.{stage.name}."
    found = {}
    for path, value in _leaves(blocks, ""):
        origin = stage.origins.get(base + path)
        if origin is not None:
            variables = origin.environment or _variables(stage, path)
            hidden = ", ".join(f"${{env.{name}}}" for name in variables)
            found[path] = Setting(hidden or json.dumps(value), _place(origin))
    return found


def _variables(stage: Stage, path: str) -> tuple[str, ...]:
    """Variables behind a value that validation made out of one that holds them."""
    for parts, names in stage.environment.items():
        parent = ".".join(["with", *map(str, parts)])
        if path == parent or path.startswith(f"{parent}."):
            return names
    return ()


def _place(origin: Origin) -> str:
    return f"{origin.layer} {origin.file}:{origin.line}" if origin.line else origin.layer


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Scalars and what is empty; lists by index."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list) and item:
            yield from _leaves(item, f"{path}{key}.")
        else:
            yield f"{path}{key}", item
