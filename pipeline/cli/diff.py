"""`pipeline diff`: why the results of two runs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pipeline.cli.options import Output, OutputFormat, StoreUrl

RunA = Annotated[
    str, typer.Argument(metavar="RUN_A", help="A run's id, its start or end, or `latest`.")
]
RunB = Annotated[
    str, typer.Argument(metavar="RUN_B", help="A run's id, its start or end, or `latest`.")
]


def diff(
    run_a: RunA, run_b: RunB, store: StoreUrl = None, output: OutputFormat = Output.TEXT
) -> None:
    """Prints what differs between two runs: settings, code, packages, machine, artifacts."""
    from pipeline.cli.session import find_run, open_store
    from pipeline.runner.journal import load_run
    from pipeline.runner.record import read_record

    place = open_store(store)
    sides = []
    for name in (run_a, run_b):
        run = find_run(place, name)
        state, record = load_run(place, run), read_record(place, run).model_dump(mode="json")
        document = {
            key: record[key] for key in ("resolved", "seeds", "code", "packages", "machine")
        }
        document["artifacts"] = {
            a: dict(s.artifacts) for a, s in state.stages.items() if s.artifacts
        }
        sides.append(dict(_flat(document, "")))
    changed = {
        path: (sides[0].get(path), sides[1].get(path))
        for path in sorted(sides[0].keys() | sides[1].keys())
        if sides[0].get(path) != sides[1].get(path)
    }
    params = [change for path, change in changed.items() if path.startswith("resolved.params")]
    changed = {
        path: change
        for path, change in changed.items()
        if not (path.startswith("resolved.stages.") and change in params)  # said where it began
    }
    if output is Output.JSON:
        print(json.dumps(changed, indent=2))
        return
    for path, (before, after) in changed.items():
        print(f"{path}: {_text(before)} -> {_text(after)}")
    if not changed:
        print("no difference")


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from _flat(part, f"{path}[{number}]")
    else:
        yield path, value


def _text(value: Any) -> str:
    return "(absent)" if value is None else json.dumps(value)
