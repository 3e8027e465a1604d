"""`pipeline cancel`: asks the runner of a run to stop, wherever it is."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import RunId, StoreUrl

Now = Annotated[bool, typer.Option("--now", help="At once, without a checkpoint.")]


def cancel(run_id: RunId = None, store: StoreUrl = None, now: Now = False) -> None:
    """Asks a run to save its state and stop; it can be resumed."""
    from pipeline.cli.session import find_run, open_store
    from pipeline.errors import UserError
    from pipeline.runner.cancel import request_cancel
    from pipeline.runner.run import is_running

    place = open_store(store)
    found = find_run(place, run_id)
    if not is_running(place, found):
        msg = f"run {found} is not running; `pipeline status {found}` shows how it stands"
        raise UserError(msg)
    request_cancel(place, found, now=now)
    print(f"run {found}: asked to stop{' at once' if now else ' after a checkpoint'}")
