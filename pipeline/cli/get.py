"""`pipeline get`: copies the output of a stage out of the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import StoreUrl

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, its start or end, or `latest`.")
]
PortName = Annotated[str, typer.Argument(metavar="STAGE.PORT", help="An output of a stage.")]
Folder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A new folder.")]


def get(run_id: RunName, port: PortName, output: Folder, store: StoreUrl = None) -> None:
    """Copies an artifact, verified, into a new folder."""
    from pipeline.cache import Artifacts
    from pipeline.cli.session import find_state, open_store, workdir
    from pipeline.errors import InfrastructureError, UserError

    place = open_store(store)
    digest = find_output(find_state(place, run_id), port)
    if output.exists():
        msg = f"{output} exists; name a folder that does not"
        raise UserError(msg)
    folder = Artifacts(place, cache_folder=workdir() / "cache").open(digest)
    half = output.with_name(f".{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, half)
        half.rename(output)
    except OSError as exc:
        shutil.rmtree(half, ignore_errors=True)
        msg = f"cannot write {output}: {exc}"
        raise InfrastructureError(msg) from exc
    print(f"{port} -> {output}")


def find_output(state: object, name: str) -> str:
    """The digest behind STAGE.PORT in a run.

    Raises:
        UserError: there is no such output (yet); the message lists those there are.
    """
    from pipeline.errors import UserError
    from pipeline.runner.state import RunState
    from pipeline.spec.suggest import did_you_mean

    assert isinstance(state, RunState)  # the annotation would import the runner for `--help`
    stage, _, port = name.rpartition(".")
    found = state.stages.get(stage)
    if found is not None and port in found.artifacts:
        return found.artifacts[port]
    known = [f"{a}.{p}" for a, one in state.stages.items() for p in one.artifacts]
    cells = [one for one in known if one.startswith(f"{stage}[") and one.endswith(f"].{port}")]
    hint = f"Name a cell: {', '.join(cells)}." if cells else did_you_mean(name, known, "It has")
    msg = f"run {state.run} has no output {name!r}. {hint if known else 'It has none yet.'}"
    raise UserError(msg)
