"""Where an agent finds itself: what the pod's environment says, and the folders it may write to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from pipeline.errors import StoreError, UsageError
from pipeline.spec.job import Job
from pipeline.spec.pod import (
    ADDRESS_VARIABLE,
    HUB_PORT,
    HUB_PORT_VARIABLE,
    INDEX_VARIABLE,
    ORDER_VARIABLE,
    POD_IP_VARIABLE,
    RESTART_VARIABLE,
    SCRATCH_VARIABLE,
    TERMINATION_VARIABLE,
    UID_VARIABLE,
    PodOrder,
    attempt_path,
    staging_id,
)
from pipeline.storage import Store
from pipeline.storage.failures import cause_and_fix
from pipeline.storage.keys import safe_name

_FOLDER_VARIABLES = ("HOME", "TMPDIR", "XDG_CACHE_HOME")
"""Libraries expect these to be there; in a fresh volume nothing is."""


@dataclass(frozen=True)
class Place:
    """What one pod is told by its environment.

    Attributes:
        order: the file with the PodOrder.
        node: which of the attempt's nodes, or workers, this pod is.
        address: host name of node 0's pod, "" where nodes do not meet.
        pod_ip: of this pod; "" is as good outside a cluster.
        job_uid: names this start of the attempt, in all its pods.
        restart: how often the cluster has started it anew by itself.
        scratch: local folder that vanishes with the pod.
        termination: where the cluster reads why a container ended; None where nobody does.
        folders: to be made before anything else.
    """

    order: Path
    node: int
    address: str
    pod_ip: str
    job_uid: str
    restart: int
    scratch: Path
    termination: Path | None
    folders: tuple[Path, ...]
    hub_port: int = HUB_PORT

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Reads the variables of `pipeline.spec.pod`.

        Raises:
            UsageError: one is missing or no number.
        """
        try:
            termination = environ.get(TERMINATION_VARIABLE, "")
            return cls(
                order=Path(environ[ORDER_VARIABLE]),
                node=int(environ.get(INDEX_VARIABLE) or 0),
                address=environ.get(ADDRESS_VARIABLE, ""),
                pod_ip=environ.get(POD_IP_VARIABLE, ""),
                job_uid=environ.get(UID_VARIABLE, ""),
                restart=int(environ.get(RESTART_VARIABLE) or 0),
                scratch=Path(environ[SCRATCH_VARIABLE]),
                termination=Path(termination) if termination else None,
                folders=tuple(Path(environ[name]) for name in _FOLDER_VARIABLES if name in environ),
                hub_port=int(environ.get(HUB_PORT_VARIABLE) or HUB_PORT),
            )
        except (KeyError, ValueError) as exc:
            msg = f"not the environment of a pod that `pipeline render` describes: {exc}"
            raise UsageError(msg) from exc

    def read_order(self) -> PodOrder:
        """What to do.

        Raises:
            UsageError: the order is missing or of another version.
        """
        try:
            order = PodOrder.model_validate_json(self.order.read_bytes())
        except (OSError, ValidationError) as exc:
            msg = (
                f"{self.order}: no order this image understands: {exc}. Render with the version "
                "that the image holds."
            )
            raise UsageError(msg) from exc
        if self.node >= order.job.nodes:
            msg = f"pod {self.node} of {order.job.nodes}: there is nothing for it to do"
            raise UsageError(msg)
        return order

    def placed(self, order: PodOrder) -> Job:
        """The job with the folders that hold here, and the names of this start of it."""
        job = order.job
        key = self.attempt_key(job)
        folder = Store(job.store).local_path(key) or self.scratch / key
        name = staging_id(job.attempt_id, self.job_uid)
        return job.model_copy(
            update={
                "folder": str(folder),
                "scratch": str(self.scratch / "work"),
                "attempt_id": name,
                # Without a runner the lease is this start's own.
                "lease_token": name if order.by_hand else job.lease_token,
            }
        )

    def attempt_key(self, job: Job) -> str:
        """Of the attempt's folder in the store."""
        return attempt_path(job.run, safe_name(job.stage), job.attempt, str(self.restart))

    def make_folders(self, job: Job) -> None:
        """Makes what libraries and ranks write to.

        Raises:
            StoreError: a folder cannot be made.
        """
        for folder in (*self.folders, Path(job.scratch), Path(job.folder) / "logs"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                cause, fix = cause_and_fix(exc)
                msg = (
                    f"cannot make {folder}: {cause}. {fix} Pods run as cluster.user and "
                    "cluster.group, which must be able to write to every volume."
                )
                raise StoreError(msg) from exc
