"""What an agent serves over HTTP: /metrics of its ranks and itself, and /healthz for probes.

The ranks' numbers come from the files they write (`pipeline.metrics.series`), so a scraper meets
the agent alone, and no rank ever waits for one.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.metrics import names
from pipeline.metrics.exposition import Exposition, installed_version, place_labels
from pipeline.metrics.http import Page, PageServer
from pipeline.metrics.series import SERIES_FOLDER
from pipeline.spec.job import Job
from pipeline.spec.pod import (
    METRICS_LINGER_VARIABLE,
    METRICS_PORT_VARIABLE,
    POD_NAME_VARIABLE,
    POD_NAMESPACE_VARIABLE,
)


@dataclass(frozen=True)
class ExpositionSettings:
    """What the pod says of it, in its environment.

    Attributes:
        port: where to listen; None to serve nothing.
        linger_seconds: how long to wait, after the last rank, for a scrape of the final values: a
            scrape interval. 0 does not wait.
        namespace, pod: of the pod, to join what others measure of it; "" outside a cluster.
    """

    port: int | None = None
    linger_seconds: float = 0.0
    namespace: str = ""
    pod: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Reads the variables of `pipeline.spec.pod`.

        Raises:
            ValueError: one is no number.
        """
        port = environ.get(METRICS_PORT_VARIABLE, "")
        return cls(
            port=int(port) if port else None,
            linger_seconds=float(environ.get(METRICS_LINGER_VARIABLE, "") or 0),
            namespace=environ.get(POD_NAMESPACE_VARIABLE, ""),
            pod=environ.get(POD_NAME_VARIABLE, ""),
        )


class AgentPages:
    """The pages of an agent that runs one attempt."""

    def __init__(
        self, job: Job, settings: ExpositionSettings, *, problem: Callable[[], str] = lambda: ""
    ) -> None:
        """Listens from now on; workers that are forked later let go of the sockets.

        Args:
            job: the attempt.
            settings: of the pod.
            problem: why the agent is not healthy, "" while it is.

        Raises:
            OSError: the port is taken.
        """
        self._job = job
        self._settings = settings
        self._problem = problem
        self._num_scrapes = 0
        self.server = PageServer(
            {"/metrics": self._metrics, "/healthz": self._healthz}, port=settings.port or 0
        )
        os.register_at_fork(after_in_child=self.server.close_in_child)

    def linger(self, is_stopping: Callable[[], bool]) -> None:
        """Serves until the final values were scraped once, for no longer than was asked for."""
        before, give_up = self._num_scrapes, time.monotonic() + self._settings.linger_seconds
        while time.monotonic() < give_up and not is_stopping():
            if self._num_scrapes > before and self.server.is_idle:
                return
            self.server.serve(min(1.0, max(0.0, give_up - time.monotonic())))

    def close(self) -> None:
        """Hangs up."""
        self.server.close()

    def _metrics(self, accept: str) -> Page:
        self._num_scrapes += 1
        job = self._job
        place = place_labels(
            pipeline=job.pipeline, run=job.run, stage=job.stage, attempt=job.attempt
        )
        page = Exposition()
        page.add(names.BUILD_INFO, 1.0, {**place, "version": installed_version()})
        page.add(names.NODE_RANKS, float(job.processes_per_node), place)
        page.add(names.STAGE_GRACE_SECONDS, job.grace_seconds, place)
        if self._settings.pod:
            pod = {"namespace": self._settings.namespace, "pod": self._settings.pod}
            page.add(names.POD_INFO, 1.0, {**place, **pod})
        page.add_attempt(Path(job.folder) / SERIES_FOLDER, place)
        return page.page(accept)

    def _healthz(self, _accept: str) -> Page:
        # The agent's own loop answers: it hears of signals and of ranks that end.
        if problem := self._problem():
            return Page(f"{problem}\n".encode(), status="503 Service Unavailable")
        return Page(b"ok\n")
