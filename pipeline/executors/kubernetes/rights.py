"""What a runner may do, and does: the same list is in k8s/base, and `doctor` asks for each."""

from dataclasses import dataclass

from pipeline.executors.kubernetes.resources import (
    EVENT,
    JOB,
    JOBSET,
    POD,
    SERVICE,
    WORKLOAD,
    Resource,
)


@dataclass(frozen=True)
class Right:
    """Verbs on one kind; `subresource` is "" or e.g. `log`."""

    resource: Resource
    verbs: tuple[str, ...]
    subresource: str = ""
    is_optional: bool = False


_OBJECTS = ("get", "list", "watch", "create", "patch", "delete")

RIGHTS = (
    Right(JOB, _OBJECTS),
    Right(JOBSET, _OBJECTS),
    Right(SERVICE, ("create", "patch")),
    Right(POD, ("get", "list", "watch", "delete")),
    Right(POD, ("get",), "log"),
    # Without the two it says less about why something waits.
    Right(EVENT, ("list", "watch"), is_optional=True),
    Right(WORKLOAD, ("list", "watch"), is_optional=True),
)
"""Server-side apply is `patch`, and `create` where there is no object yet."""
