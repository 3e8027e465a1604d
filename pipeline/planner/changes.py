"""What differs between two sets of key parts, in words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.cache.results import KeyPart
from pipeline.planner.keys import input_parts
from pipeline.planner.plan import PlannedStage

_MAX_VALUE_CHARACTERS = 60
_MAX_REASONS = 6


@dataclass(frozen=True)
class Change:
    """One part that differs; an absent side is None and `added` or `removed` says so.

    Attributes:
        origin: "stage.port" that an input comes from now; "" for other parts.
    """

    name: str
    before: KeyPart
    after: KeyPart
    added: bool = False
    removed: bool = False
    origin: str = ""

    @property
    def text(self) -> str:
        """`with.model.seq_len 512 -> 256`, `input.shards changed (data.shards)`, `code.a added`."""
        what = "added" if self.added else "removed" if self.removed else "changed"
        if self.name.startswith(("input.", "source.", "code.")):
            return f"{self.name} {what}{f' ({self.origin})' if self.origin else ''}"
        if self.added:
            return f"{self.name} added: {_short(self.after)}"
        if self.removed:
            return f"{self.name} removed: {_short(self.before)}"
        return f"{self.name} {_short(self.before)} -> {_short(self.after)}"


def changes(before: Mapping[str, KeyPart], now: PlannedStage) -> list[Change]:
    """What a stage's key parts differ in: settings first, then sources, inputs, libraries, code.

    Args:
        before: key parts of an earlier result.
        now: the stage as planned.
    """
    after = now.key_parts
    origins = {
        name: str(connection)
        for port, connections in now.stage.inputs.items()
        for name, connection in zip(input_parts(port, len(connections)), connections, strict=True)
    }
    found = [
        Change(
            name,
            before.get(name),
            after.get(name),
            added=name not in before,
            removed=name not in after,
            origin=origins.get(name, ""),
        )
        for name in before.keys() | after.keys()
        if name not in before or name not in after or before[name] != after[name]
    ]
    return sorted(found, key=lambda change: (_rank(change.name), change.name))


def reasons(found: Sequence[Change], what: str) -> tuple[str, ...]:
    """One line a change, `what` it leads to before it; the rest counted."""
    lines = [f"{what}: {change.text}" for change in found[:_MAX_REASONS]]
    if len(found) > _MAX_REASONS:
        lines.append(f"and {len(found) - _MAX_REASONS} more changes")
    return tuple(lines)


_ORDER = ("with.", "seed", "precision", "source.", "input.", "library.", "device", "code.")


def _rank(name: str) -> int:
    return next((n for n, prefix in enumerate(_ORDER) if name.startswith(prefix)), len(_ORDER))


def _short(value: KeyPart) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _MAX_VALUE_CHARACTERS:
        return text
    return f"{text[:_MAX_VALUE_CHARACTERS]}..."
