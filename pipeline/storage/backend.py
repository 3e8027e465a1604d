"""What a store needs from a place that keeps bytes; keys arrive checked, errors leave as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class FileInfo:
    """Size in bytes, and when the content was last written (seconds since the epoch)."""

    size: int
    modified: float


class Backend(Protocol):
    """The primitives; see `Store` for their meaning."""

    foreign: tuple[type[Exception], ...]
    """What the place raises when it fails; FileNotFoundError means that the key is absent."""

    def read(self, key: str) -> bytes:
        """Raises FileNotFoundError when absent."""

    def write(self, key: str, data: bytes, *, durable: bool) -> None:
        """Replaces atomically."""

    def create(self, key: str, data: bytes, *, durable: bool) -> bool:
        """Creates with whole content; False when it exists."""

    def info(self, key: str) -> FileInfo | None:
        """None when there is no such file."""

    def children(self, prefix: str) -> list[str]:
        """Names directly below, in any order."""

    def walk(self, prefix: str) -> Mapping[str, FileInfo]:
        """All files below, by name relative to the prefix."""

    def remove(self, key: str) -> None:
        """Absent is fine."""

    def remove_tree(self, prefix: str) -> None:
        """Absent is fine."""

    def touch(self, key: str) -> None:
        """Sets the time of the last write to now."""

    def local_path(self, key: str) -> Path | None:
        """Where the key is on this machine."""

    def upload(self, path: Path, key: str) -> None:
        """Replaces atomically by a local file's content."""

    def download(self, key: str, path: Path) -> None:
        """Raises FileNotFoundError when absent."""

    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copies files (source, target) within the store."""

    def move_tree(self, source: str, target: str) -> bool:
        """Renames a folder; False when the target has content."""
