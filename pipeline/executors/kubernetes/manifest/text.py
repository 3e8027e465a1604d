"""Objects as YAML text: block style, the same bytes for the same objects.

Not by a general writer: 500 stages are 100,000 lines, and what is written here are mappings with
plain keys, lists, texts, numbers and truth values.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HEADER = "# Rendered by pipeline; changes are lost when it is rendered again.\n"
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null"))
"""Readers of YAML 1.1 take these for something else."""
_UNPRINTABLE = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def to_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """One document for each object, each behind a `---`."""
    return HEADER + "".join(f"---\n{''.join(_mapping(one, ''))}" for one in objects)


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield f"{indent}{_scalar(key) if not _KEY.fullmatch(key) else _key(key)}:"
        yield from _item(item, indent)


def _key(key: str) -> str:
    # A number or a word as key would be read as one.
    return key if _PLAIN.fullmatch(key) and key.lower() not in _WORDS else json.dumps(key)


def _item(item: Any, indent: str) -> Iterator[str]:
    """What follows a key's colon."""
    if isinstance(item, Mapping) and item:
        yield "\n"
        yield from _mapping(item, f"{indent}  ")
    elif isinstance(item, list | tuple) and item:
        yield "\n"
        for one in item:
            yield from _entry(one, indent)
    elif isinstance(item, str) and _fits_a_block(item):
        yield from _block(item, indent)
    else:
        yield f" {_scalar(item)}\n"


def _entry(item: Any, indent: str) -> Iterator[str]:
    """One entry of a list, with its dash where the list's key begins."""
    if isinstance(item, Mapping) and item:
        text = "".join(_mapping(item, f"{indent}  "))
        yield f"{indent}- {text[len(indent) + 2 :]}"
    elif isinstance(item, list | tuple) and item:
        text = "".join(part for one in item for part in _entry(one, f"{indent}  "))
        yield f"{indent}- {text[len(indent) + 2 :]}"
    else:
        yield f"{indent}- {_scalar(item)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        text = json.dumps(value, ensure_ascii=False)
        return _UNPRINTABLE.sub(_escaped, text)
    return json.dumps(value)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _fits_a_block(text: str) -> bool:
    """Whether lines as they are say it; a first line with a blank in front would need a sign."""
    first = text.lstrip("\n")[:1]
    return "\n" in text and first not in ("", " ", "\t") and not _UNPRINTABLE.search(text)


def _block(text: str, indent: str) -> Iterator[str]:
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    yield f" |{'-' if ends == 0 else '' if ends == 1 else '+'}\n"
    for line in body.split("\n"):
        yield f"{indent}  {line}\n" if line else "\n"
    yield "\n" * max(0, ends - 1)
