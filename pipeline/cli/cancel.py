"""`pipeline cancel`: asks the runner of a run to stop, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import RunId, StoreUrl

if TYPE_CHECKING:
    from pipeline.storage import Store

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
        if stopped := _stop_orphans(place, found, now=now):
            how = "at once" if now else "after a checkpoint"
            print(f"run {found} has no runner; asked to stop {how}: {', '.join(stopped)}")
            return
        msg = f"run {found} is not running; `pipeline status {found}` shows how it stands"
        raise UserError(msg)
    request_cancel(place, found, now=now)
    print(f"run {found}: asked to stop{' at once' if now else ' after a checkpoint'}")


def _stop_orphans(store: Store, run: str, *, now: bool) -> list[str]:
    """What goes on in a cluster though the run's runner is gone; names of what was stopped."""
    from pipeline.cli.cluster import connect
    from pipeline.cli.loading import load_request
    from pipeline.runner.journal import load_run
    from pipeline.runner.record import read_record

    if not any(stage.goes_on_alone for stage in load_run(store, run).stages.values()):
        return []
    from pipeline.executors.kubernetes.stop import stop_run

    cluster = connect(load_request(read_record(store, run).request).cluster.namespace)
    try:
        return stop_run(cluster, run, now=now)
    finally:
        cluster.close()
