"""Values of the environment that a run was given, and what a page says in their place."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.runner.record import RunRecord
from pipeline.runner.state import RunState
from pipeline.spec.attempt import AttemptFolder

_MIN_LENGTH = 4
"""Shorter values stay: taking "1" out would garble every text."""


def hidden_values(
    state: RunState, record: RunRecord, variables: Mapping[str, str]
) -> list[tuple[str, str]]:
    """(value, what is shown instead), longer values first, for one may be part of another.

    Args:
        state: names the attempts' folders. A worker is told its configuration with all values in
            it, so a variable that is set no more is found there.
        record: says which settings came from the environment.
        variables: name -> value of those that are set now.
    """
    found = {value: f"${{env.{name}}}" for name, value in variables.items()}
    for address, settings in record.settings.items():
        hidden = {
            path.removeprefix("with."): text
            for path, (text, _) in settings.items()
            if text.startswith("${env.") and path.startswith("with.")
        }
        stage = state.stages.get(address)
        if hidden and stage is not None and stage.attempts:
            config = _config(AttemptFolder(Path(stage.attempts[-1].folder)).job)
            for path, value in _leaves(config, ""):
                if path in hidden:
                    found.setdefault(value, hidden[path])
    return sorted(
        ((value, shown) for value, shown in found.items() if len(value) >= _MIN_LENGTH),
        key=lambda item: -len(item[0]),
    )


def _config(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str):
        yield path, value
