"""Digests and the canonical bytes of values."""

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage.digests import canonical_json, digest_of, sha256_bytes, sha256_file


def test_sha256_file_equals_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert (sha256_file(tmp_path / "file"), sha256_bytes(data)) == (expected, expected)


def test_canonical_json_does_not_depend_on_order_or_type_of_container() -> None:
    first = canonical_json({"b": (1, 2.5), "a": OrderedDict(d=None, c=True)})
    assert first == canonical_json({"a": {"c": True, "d": None}, "b": [1, 2.5]})
    assert first == b'{"a":{"c":true,"d":null},"b":[1,2.5]}'


def test_canonical_json_escapes_what_is_not_ascii() -> None:
    assert canonical_json("ä") == b'"\\u00e4"'


@pytest.mark.parametrize("value", [{1: "a"}, {"a": [{None: 1}]}, b"bytes", {1, 2}, object()])
def test_canonical_json_refuses_what_is_no_json(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_canonical_json_refuses_numbers_json_has_not(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


def test_digest_of_keeps_tags_and_types_apart() -> None:
    values: list[tuple[str, Any]] = [("a", 1), ("b", 1), ("a", "1"), ("a", 1.0), ("a", True)]
    assert len({digest_of(tag, value) for tag, value in values}) == len(values)
