"""Digests of files and values; the one place that says what bytes a value is hashed as."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
"""What canonical_json takes."""


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in blocks.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Json) -> bytes:
    """The one byte string of a JSON value: sorted keys, no spaces, ASCII, no NaN or infinity.

    Raises:
        TypeError: something in `value` is no JSON type, or a mapping's key is no string (json
            would turn 1 and "1" into the same key).
        ValueError: a number is NaN or infinite.
    """
    _check_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return text.encode("ascii")


def digest_of(tag: str, value: Json) -> str:
    """Hex SHA-256 of a value's canonical JSON; `tag` keeps values of different kinds apart."""
    return sha256_bytes(tag.encode() + b"\0" + canonical_json(value))


def _check_keys(value: Json) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                msg = f"{key!r} is a {type(key).__name__}; keys of a JSON object are strings"
                raise TypeError(msg)
            _check_keys(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            _check_keys(item)


def _plain(value: object) -> object:
    """Mappings that are no dict, sequences that are no list: what json.dumps does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    msg = f"{type(value).__name__} is no JSON type"
    raise TypeError(msg)
