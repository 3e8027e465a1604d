"""What differs between two sets of key parts, in words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.cache.results import KeyPart

_MAX_VALUE_CHARACTERS = 60
_MAX_REASONS = 6


@dataclass(frozen=True)
class Change:
    """One part that differs; an absent side is None and `added` or `removed` says so."""

    name: str
    before: KeyPart
    after: KeyPart
    added: bool = False
    removed: bool = False

    @property
    def text(self) -> str:
        """`with.model.seq_len 512 -> 256`, `input.shards changed`, `code.a.py added`."""
        what = "added" if self.added else "removed" if self.removed else "changed"
        if self.name.startswith(("input.", "source.", "code.")):
            return f"{self.name} {what}"
        if self.added:
            return f"{self.name} added: {_short(self.after)}"
        if self.removed:
            return f"{self.name} removed: {_short(self.before)}"
        return f"{self.name} {_short(self.before)} -> {_short(self.after)}"


def changes(before: Mapping[str, KeyPart], after: Mapping[str, KeyPart]) -> list[Change]:
    """The parts that differ: settings first, then sources, inputs, libraries and code."""
    found = [
        Change(
            name,
            before.get(name),
            after.get(name),
            added=name not in before,
            removed=name not in after,
        )
        for name in before.keys() | after.keys()
        if name not in before or name not in after or before[name] != after[name]
    ]
    return sorted(found, key=lambda change: (_rank(change.name), change.name))


def reasons(found: Sequence[Change]) -> tuple[str, ...]:
    """One line a change, the rest counted."""
    lines = [f"miss: {change.text}" for change in found[:_MAX_REASONS]]
    if len(found) > _MAX_REASONS:
        lines.append(f"and {len(found) - _MAX_REASONS} more changes")
    return tuple(lines)


def only_code(found: Sequence[Change]) -> bool:
    """Whether nothing but code changed."""
    return all(change.name.startswith("code.") for change in found)


_ORDER = ("with.", "seed", "precision", "source.", "input.", "library.", "device", "code.")


def _rank(name: str) -> int:
    return next((n for n, prefix in enumerate(_ORDER) if name.startswith(prefix)), len(_ORDER))


def _short(value: KeyPart) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _MAX_VALUE_CHARACTERS:
        return text
    return f"{text[:_MAX_VALUE_CHARACTERS]}..."
