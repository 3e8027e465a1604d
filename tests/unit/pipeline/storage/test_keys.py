"""Names inside a store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage.keys import check_key, safe_name


@given(st.text(), st.text())
def test_safe_name_gives_different_texts_different_valid_names(first: str, second: str) -> None:
    names = [safe_name(first), safe_name(second)]
    assert (names[0] == names[1]) == (first == second)
    for name in names:
        assert check_key(name) == name
        assert "/" not in name


def test_safe_name_keeps_addresses_readable() -> None:
    assert safe_name("finetune[seed=2,lr=0.1]") == "finetune[seed=2,lr=0.1]"


def test_safe_name_of_long_text_fits_and_stays_apart() -> None:
    names = {safe_name("x" * 500 + end) for end in "ab"}
    assert len(names) == 2
    assert all(len(name) <= 255 for name in names)


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/..", "a/b\0", "é" * 128, "a/" * 600 + "a"])
def test_check_key_refuses_what_some_store_cannot_hold(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        check_key(key)
