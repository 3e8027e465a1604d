"""Who else hears of a run while it goes on: a scraper, a webhook."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.runner.outcome import Listener

MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        envvar="PIPELINE_METRICS_PORT",
        help="Serves /metrics for Prometheus while the run goes on; 0 takes a free port.",
    ),
]
MetricsLinger = Annotated[
    float,
    typer.Option(
        "--metrics-linger",
        min=0,
        metavar="SECONDS",
        envvar="PIPELINE_METRICS_LINGER_SECONDS",
        help="Afterwards waits this long for one last scrape.",
    ),
]
WebhookUrl = Annotated[
    str | None,
    typer.Option(
        "--webhook",
        metavar="URL",
        envvar="PIPELINE_WEBHOOK",
        show_envvar=True,
        help="POSTs changes of the run's and its stages' states there, as JSON.",
    ),
]
WebhookSecret = Annotated[
    str,
    typer.Option(
        "--webhook-secret-from",
        metavar="VARIABLE",
        help="The environment variable whose value signs them (HMAC-SHA256); unset: no signature.",
    ),
]
SECRET_VARIABLE = "PIPELINE_WEBHOOK_SECRET"


@dataclass(frozen=True)
class Monitoring:
    """What the command line asks for; nothing of it becomes part of the run's record."""

    metrics_port: int | None = None
    metrics_linger: float = 0.0
    webhook: str | None = None
    webhook_secret_from: str = SECRET_VARIABLE

    @contextmanager
    def listeners(self, *, grace_seconds: float, is_local: bool) -> Iterator[list[Listener]]:
        """Whom the command line names, as long as the run goes on.

        Args:
            grace_seconds: what attempts get to save and end.
            is_local: attempts run on this machine; in a cluster their agents serve their numbers.

        Raises:
            UserError: the port is taken, or the webhook is no URL.
        """
        from pipeline.errors import UserError
        from pipeline.runner.webhook import Target, Webhook

        listeners: list[Listener] = []
        with ExitStack() as stack:
            hook = None
            if self.webhook:
                hook = Webhook(Target(self.webhook, os.environ.get(self.webhook_secret_from)))
                listeners.append(hook)
            if self.metrics_port is not None:
                # prometheus-client: a tenth of a second that other runs do not need.
                from pipeline.runner.exposition import RunPages, RunServer

                pages = RunPages(grace_seconds, hook.deliveries if hook else {}, is_local)
                try:
                    server = RunServer(pages, self.metrics_port)
                except OSError as exc:
                    msg = f"--metrics-port {self.metrics_port}: cannot listen there: {exc}"
                    raise UserError(msg) from exc
                stack.callback(server.close)
                stack.callback(server.linger, self.metrics_linger)
                print(f"metrics at http://127.0.0.1:{server.port}/metrics", file=sys.stderr)
                listeners.append(pages)
            if hook is not None:
                stack.callback(hook.close)  # before the last scrape, which tells how it went
            yield listeners
