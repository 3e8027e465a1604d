"""What a finished run has to show: its last tables and scores, and where everything is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.cache import Artifacts
from pipeline.cli.peek import NOT_AS_ITS_KIND_SAYS
from pipeline.cli.session import workdir
from pipeline.errors import InputError
from pipeline.numbers import duration
from pipeline.runner.state import StageStatus
from pipeline.spec.ports import PortKind
from pipeline.spec.scores import read_scores

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.runner.state import RunState
    from pipeline.storage import Store

_MAX_TABLE_ROWS = 60


def print_results(state: RunState, store: Store) -> None:
    """Prints the tables of the run, the scores no later stage went on from, counts and places."""
    artifacts = Artifacts(store, cache_folder=workdir() / "cache")
    read = {
        source for stage in state.stages.values() if stage.succeeded for source in stage.upstream
    }
    for stage in state.stages.values():
        for port, digest in stage.artifacts.items():
            name = f"{stage.address}.{port}"
            try:
                kind = artifacts.manifest(digest).kind
                if kind is PortKind.TABLE:
                    _print_table(name, artifacts.open(digest))
                elif kind is PortKind.SCORES and stage.address not in read:
                    _print_scores(name, artifacts.open(digest))
            except InputError as error:
                print(f"{name}: {error}")
            except NOT_AS_ITS_KIND_SAYS as error:
                print(f"{name}: cannot be shown: {type(error).__name__}: {error}")
    counts = ", ".join(f"{n} {status}" for status, n in state.counts().items())
    print(f"\nrun {state.run}: {state.status}: {counts} in {duration(state.busy_seconds)}")
    if any(stage.status is StageStatus.DONE or stage.artifacts for stage in state.stages.values()):
        print(f"results: {store.url}")
        print(f"         pipeline get {state.run} STAGE.PORT -o DIR")
    print(f"more:    pipeline status {state.run}")
    print(f"         pipeline logs {state.run} STAGE")


def _print_table(title: str, folder: Path) -> None:
    table = json.loads((folder / "table.json").read_bytes())
    cells = table["rows"][:_MAX_TABLE_ROWS]
    rows = [[_cell(value) for value in row] for row in cells]
    columns = [str(column) for column in table["columns"]]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    is_number = [
        bool(cells) and all(isinstance(value, int | float) for value in column)
        for column in zip(*cells, strict=True)
    ] or [False] * len(columns)
    print(f"\n{title}")
    for line in (columns, *rows):
        fields = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ]
        print(f"  {'  '.join(fields)}".rstrip())
    if len(table["rows"]) > _MAX_TABLE_ROWS:
        print(f"  ... {len(table['rows']) - _MAX_TABLE_ROWS} more rows in {folder}/table.json")


def _print_scores(title: str, folder: Path) -> None:
    scores = read_scores(folder)
    print(f"\n{title}: " + ", ".join(f"{name} {_cell(value)}" for name, value in scores.items()))


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
