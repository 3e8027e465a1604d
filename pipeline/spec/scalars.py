"""The scalars of the YAML 1.2 core schema: from a plain text to a value, and back.

The resolvers of the libraries at hand take `on`, `1:30` or `1e-4` for what they were in YAML 1.1.
"""

import math
import re

Scalar = str | int | float | bool | None

_INT64 = range(-(2**63), 2**63)

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"(true|True|TRUE)|(?:false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolve_scalar(text: str) -> Scalar:
    """A plain (unquoted) scalar by the YAML 1.2 core schema.

    Raises:
        ValueError: a number that JSON cannot hold (infinite, not a number, beyond 64 bits).
    """
    first = text[:1]
    if not first or first in "~nN":
        if _NULL.fullmatch(text):
            return None
    elif first in "tTfF":
        match = _BOOL.fullmatch(text)
        if match:
            return match[1] is not None
    elif first in "-+.0123456789":
        return _number(text)
    return text


def _number(text: str) -> Scalar:
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        if len(text) <= 66:
            number = int(text, base)
            if number in _INT64:
                return number
        msg = "is beyond 64 bits"
        raise ValueError(msg)
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and math.isinf(float(text))):
        msg = "is not a finite number; leave the value out, or quote it to make it a text"
        raise ValueError(msg)
    return float(text) if _FLOAT.fullmatch(text) else text


def scalar_text(value: object) -> str:
    """A scalar inside a text or an address: 17, 0.001, true, as YAML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
