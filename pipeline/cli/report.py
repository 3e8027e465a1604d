"""`pipeline report`: a page about a run, as a file or served while the run goes on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import RunId, StoreUrl

if TYPE_CHECKING:
    from pipeline.report.gather import RunReader
    from pipeline.storage import Store

Compare = Annotated[
    list[str] | None,
    typer.Option("--compare", metavar="RUN", help="Lays this run's curves and scores beside."),
]
OutputFile = Annotated[
    Path | None, typer.Option("-o", "--output", help="The file; default report-RUN.html here.")
]
Serve = Annotated[
    bool, typer.Option("--serve", help="Serves the page on this machine and keeps it up to date.")
]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="With --serve; 0 takes a free one.")
]
_VARIABLE = re.compile(r"\$\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)")


def report(
    run_id: RunId = None,
    compare: Compare = None,
    output: OutputFile = None,
    serve: Serve = False,
    port: Port = 0,
    store: StoreUrl = None,
) -> None:
    """Writes one HTML file about a run: graph, timeline, curves, pictures, settings, artifacts."""
    from pipeline.cli.session import find_run, open_store
    from pipeline.errors import UserError
    from pipeline.numbers import size
    from pipeline.report.page import Report
    from pipeline.report.serve import serve_report
    from pipeline.storage.files import replace_file

    if serve and output is not None:
        msg = "--serve writes no file: leave --output out, or --serve"
        raise UserError(msg)
    place = open_store(store)
    runs = dict.fromkeys(find_run(place, one) for one in (run_id, *(compare or ())))
    made = Report([_reader(place, run) for run in runs])
    if serve:
        serve_report(made, port, announce=lambda url: print(f"{url}  (Ctrl-C ends)", flush=True))
        return
    data = made.page().html.encode("utf-8", "backslashreplace")
    path = output or Path(f"report-{next(iter(runs))}.html")
    try:
        replace_file(path, data, durable=False)
    except OSError as exc:
        msg = f"cannot write {path}: {exc.strerror}; name another place with --output"
        raise UserError(msg) from exc
    print(f"{path}  ({size(len(data))})")


def _reader(store: Store, run: str) -> RunReader:
    from pipeline.cli.session import workdir
    from pipeline.report.gather import RunReader
    from pipeline.runner.record import read_record

    request = read_record(store, run).request
    texts = [request.text, *(text for _, text in request.values), *request.sets]
    names = {name for text in texts for name in _VARIABLE.findall(text)}
    secrets = {name: os.environ[name] for name in names if name in os.environ}
    return RunReader(store, run, workdir() / "cache", secrets=secrets)
