"""Laying a profile's own fields over what a pod has anyway."""

from collections.abc import Mapping, Sequence
from typing import Any

_KEYED = {
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
"""Lists in which one entry has one name: an overlay's replaces the entry of its name."""


def overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the overlay: mappings are merged, lists joined, all else is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = overlaid(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            merged[key] = _joined(before, value, _KEYED.get(key))
        else:
            merged[key] = value
    return merged


def _joined(before: Sequence[Any], added: Sequence[Any], name: str | None) -> list[Any]:
    if name is None:
        return [*before, *(one for one in added if one not in before)]
    new = {one[name]: one for one in added if isinstance(one, Mapping) and name in one}
    kept = [new.pop(one.get(name), one) for one in before]
    return [*kept, *new.values()]
