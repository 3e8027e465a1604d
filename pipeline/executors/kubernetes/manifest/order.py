"""The order that a stage's pods read: the job, without what may be secret."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.executors.kubernetes.manifest.names import ORDER_ANNOTATION
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.job import Job
from pipeline.spec.pod import InputPort, PodOrder, Sealed
from pipeline.spec.stage import Launch
from pipeline.storage.digests import digest_of

MAX_ORDER_BYTES = 200_000
"""All annotations of an object together may hold 256 KiB."""
SAVES_IN_GRACE = 2.0
"""The grace period holds this many saves: the step that runs has to end first."""
_TAG_LENGTH = 12


def make_order(
    job: Job,
    settings: ClusterSettings,
    *,
    environ: Mapping[str, str],
    save_seconds: float | None = None,
    inputs: Mapping[str, InputPort] | None = None,
) -> PodOrder:
    """What the pods of an attempt are told.

    Args:
        job: as the runner made it; for a stage applied by hand its inputs and content key are
            empty.
        settings: of the cluster.
        environ: what `${env.X}` was replaced from when the DAG was read.
        save_seconds: how long a checkpoint of this stage took, where one was measured.
        inputs: of a stage applied by hand, what it waits for.

    Raises:
        UserError: a value of the environment would have to be written down, or the order is larger
            than an object may be.
    """
    config, sealed = _seal(job, settings, environ)
    in_pod = job.model_copy(
        update={
            "config": config,
            "folder": "",
            # Of independent workers each is a pod.
            "nodes": job.world_size if job.launch is Launch.WORKERS else job.nodes,
            "processes_per_node": 1 if job.launch is Launch.WORKERS else job.processes_per_node,
            "grace_seconds": grace_seconds(settings, save_seconds),
        }
    )
    return PodOrder(
        job=in_pod,
        sealed=tuple(sealed),
        image=settings.image or "",
        image_tag=job.code_digest[:_TAG_LENGTH],
        inputs=dict(inputs or {}),
        by_hand=inputs is not None,
        wait_seconds=settings.input_wait_seconds if inputs is not None else 0.0,
        stall_seconds=settings.stall_seconds if job.launch is Launch.GANG else None,
    )


def grace_seconds(settings: ClusterSettings, save_seconds: float | None) -> float:
    """How long ranks may take to save and end: by what a save took, not below the floor."""
    measured = 0.0 if save_seconds is None else SAVES_IN_GRACE * save_seconds
    return float(math.ceil(max(measured, settings.grace_seconds)))


def order_text(order: PodOrder) -> str:
    """The order as the annotation holds it, always the same bytes.

    Raises:
        UserError: an object of the cluster cannot hold it.
    """
    # Indented: a person reviews what is applied.
    text = json.dumps(order.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False)
    if len(text.encode()) > MAX_ORDER_BYTES:
        msg = (
            f"stage {order.job.stage}: its configuration needs {len(text.encode())} bytes; a pod "
            f"can be told {MAX_ORDER_BYTES}. Put long lists into a file of an input."
        )
        raise UserError(msg)
    return text


def read_order(workload: Mapping[str, Any]) -> Job | None:
    """The job that a JobSet or Job of ours was made for; None where it says none."""
    spec = workload["spec"]
    if "replicatedJobs" in spec:
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    annotations = spec["template"]["metadata"].get("annotations") or {}
    try:
        return PodOrder.model_validate_json(annotations.get(ORDER_ANNOTATION, "")).job
    except ValidationError:
        return None  # of another version


def _seal(
    job: Job, settings: ClusterSettings, environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[Sealed]]:
    config, sealed = _copied(job.config), []
    for one in job.environment:
        missing = [name for name in one.variables if name not in settings.env]
        if missing:
            where = ".".join(map(str, one.path))
            msg = (
                f"stage {job.stage}: with.{where} takes ${{env.{missing[0]}}}, which pods do not "
                f"have. Set cluster.env.{missing[0]} to a text, or to {{secret: NAME, key: KEY}}."
            )
            raise UserError(msg)
        value = _at(config, one.path)
        text = value if isinstance(value, str) else None
        template = _template(text, one.variables, environ)
        digest = digest_of("sealed", text) if text is not None else ""
        sealed.append(Sealed(path=one.path, template=template, digest=digest))
        _put(config, one.path, None)
    return config, sealed


def _template(text: str | None, variables: Sequence[str], environ: Mapping[str, str]) -> str:
    """The text with `${env.NAME}` for what came from the environment."""
    if text is None:  # a number, say: the variable is all of it
        return f"${{env.{variables[0]}}}"
    names = {environ[name]: name for name in variables if environ.get(name)}
    if not names:
        return text  # nothing but empty variables
    # All at once, longest first: what stands for one variable is not searched for another.
    pattern = "|".join(re.escape(value) for value in sorted(names, key=len, reverse=True))
    return re.sub(pattern, lambda match: f"${{env.{names[match[0]]}}}", text)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        value = value[part]
    return value


def _put(value: Any, path: Sequence[str | int], new: Any) -> None:
    _at(value, path[:-1])[path[-1]] = new
