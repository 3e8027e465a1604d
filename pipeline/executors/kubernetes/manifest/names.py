"""Names and labels of all objects: the same for the same stage, whoever makes them, in any process."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.spec.job import Job
from pipeline.storage.digests import digest_of
from pipeline.storage.keys import safe_name

MAX_NAME = 63
"""Of a DNS label, which pods, Jobs and Services must be."""
_MAX_BASE = 40
"""Leaves room for what controllers append: `-a12`, `-node-0-1023` and a pod's random `-x7k2p`."""
_DIGEST_LENGTH = 10
_MAX_PART = 14

FIELD_MANAGER = "pipeline"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
COMPONENT_STAGE = "stage"
COMPONENT_RUNNER = "runner"

DAG_LABEL = "pipeline"
STAGE_LABEL = "stage"
RUN_LABEL = "run"
ATTEMPT_LABEL = "attempt"
"""The four short ones become labels of metrics through a PodMonitor's podTargetLabels."""
KEY_LABEL = "pipeline/plan-key"
"""The first 32 characters of the plan key: finds what builds a result, whichever run started it."""

DAG_ANNOTATION = "pipeline/dag"
STAGE_ANNOTATION = "pipeline/stage"
ATTEMPT_ANNOTATION = "pipeline/attempt-id"
KEY_ANNOTATION = "pipeline/plan-key"
CONTENT_KEY_ANNOTATION = "pipeline/content-key"
STORE_ANNOTATION = "pipeline/store"
ORDER_ANNOTATION = "pipeline/order"
"""On pods: the PodOrder as JSON; a downward API volume shows it to the agent as a file."""


@dataclass(frozen=True)
class StageNames:
    """Names of one attempt at one stage."""

    name: str
    """Of its JobSet or Job, and of its headless Service."""

    def gang_host(self, *, jobset: bool) -> str:
        """The stable DNS name of node 0, as pods of the same namespace see it."""
        host = f"{self.name}-{REPLICATED_JOB}-0-0" if jobset else f"{self.name}-0"
        return f"{host}.{self.name}"


REPLICATED_JOB = "node"
"""The one replicated job of a gang's JobSet."""


def stage_names(job: Job) -> StageNames:
    """Deterministic: another runner, or a person who renders, comes to the same names.

    The run is not part of it, so what an earlier run left running is found and adopted; the store
    is, since the same result is built once in each.
    """
    digest = digest_of("object", [job.pipeline, job.stage, job.plan_key, job.store])
    base = "-".join(
        part
        for part in (
            slug(job.pipeline, _MAX_PART),
            slug(job.stage, _MAX_PART),
            digest[:_DIGEST_LENGTH],
        )
        if part
    )
    assert len(base) <= _MAX_BASE  # by the three limits above
    return StageNames(f"{base}-a{job.attempt}")


def runner_name(dag: str, digest: str) -> str:
    """Of the Job, ConfigMap that run a whole DAG in the cluster; `digest` is of what they hold."""
    parts = (slug(dag, 2 * _MAX_PART), "run", digest[:_DIGEST_LENGTH])
    return "-".join(part for part in parts if part)


def stage_labels(job: Job) -> dict[str, str]:
    """Labels of a stage's objects and pods; values are cut to what labels may hold."""
    return {
        "app.kubernetes.io/name": "pipeline",
        MANAGED_BY: FIELD_MANAGER,
        COMPONENT: COMPONENT_STAGE,
        DAG_LABEL: label_value(job.pipeline),
        STAGE_LABEL: label_value(job.stage),
        RUN_LABEL: label_value(job.run),
        ATTEMPT_LABEL: str(job.attempt),
        KEY_LABEL: job.plan_key[:32],
    }


def stage_annotations(job: Job) -> Mapping[str, str]:
    """What labels are too small for, whole."""
    return {
        DAG_ANNOTATION: job.pipeline,
        STAGE_ANNOTATION: job.stage,
        ATTEMPT_ANNOTATION: job.attempt_id,
        KEY_ANNOTATION: job.plan_key,
        CONTENT_KEY_ANNOTATION: job.content_key,
        STORE_ANNOTATION: job.store,
    }


def slug(text: str, limit: int) -> str:
    """What a DNS label can show of a text, beginning with a letter; "" when nothing can be shown."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].rstrip("-")
    return cleaned if not cleaned or cleaned[0].isalpha() else f"x{cleaned}"[:limit].rstrip("-")


def label_value(text: str) -> str:
    """A text as a label's value: others characters become -, long ones end in a digest."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")
    if len(cleaned) <= MAX_NAME:
        return cleaned
    kept = cleaned[: MAX_NAME - _DIGEST_LENGTH - 1].rstrip("-_.")
    return f"{kept}-{digest_of('label', text)[:_DIGEST_LENGTH]}"


def stage_folder(job: Job) -> str:
    """The part of an attempt's path in the store that stands for the stage."""
    return safe_name(job.stage)
