"""What the cluster says about objects of ours: its warnings, and Kueue's reasons to wait."""

from collections.abc import Mapping
from typing import Any

_MAX_WARNINGS = 4096
_TOLD_BETTER = frozenset({"Unhealthy", "BackOff", "FailedScheduling"})
"""Warnings that a pod's own conditions say better, or that mean nothing alone."""


class Warnings:
    """The last warning about each object, and the last word of each Kueue Workload.

    Attributes:
        of_objects: name of a pod, Job or JobSet -> reason and message.
        of_workloads: name of a Job or JobSet -> why Kueue holds it back.
    """

    def __init__(self) -> None:
        self.of_objects: dict[str, str] = {}
        self.of_workloads: dict[str, str] = {}

    def trim(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """Takes a warning in; what is kept of it names its object alone."""
        about = event.get("involvedObject") or {}
        if about.get("kind") not in ("Pod", "Job", "JobSet") or "name" not in about:
            return None
        reason = str(event.get("reason", ""))
        if reason in _TOLD_BETTER:
            return None
        text = " ".join(str(event.get("message", "")).split())
        # Of all warnings of a namespace, not of ours alone: the oldest are forgotten.
        if len(self.of_objects) >= _MAX_WARNINGS:
            self.of_objects.pop(next(iter(self.of_objects)), None)
        self.of_objects[about["name"]] = f"{reason}: {text}"
        return _about(event, about["name"])

    def trim_workload(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """Takes a Workload in."""
        owners = [
            one
            for one in item["metadata"].get("ownerReferences") or ()
            if one.get("kind") in ("Job", "JobSet")
        ]
        if not owners:
            return None
        name = owners[0]["name"]
        self.of_workloads[name] = _why_it_waits((item.get("status") or {}).get("conditions") or ())
        return _about(item, name)

    @staticmethod
    def owner_of(item: Mapping[str, Any]) -> str:
        """Name of the object that a trimmed event or Workload is about."""
        return str(item["about"])


def _about(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    metadata = item["metadata"]
    return {
        "metadata": {"name": metadata["name"], "uid": metadata.get("uid", "")},
        "about": name,
    }


def _why_it_waits(conditions: Any) -> str:
    """Kueue's own words: evicted and why, else what quota or check is missing."""
    by_type = {one.get("type"): one for one in conditions}
    for kind, wanted in (("Evicted", "True"), ("QuotaReserved", "False"), ("Admitted", "False")):
        found = by_type.get(kind)
        if found and found.get("status") == wanted:
            text = " ".join(str(found.get("message", "")).split())
            return f"{found.get('reason', kind)}: {text}" if text else str(found.get("reason", ""))
    return ""
