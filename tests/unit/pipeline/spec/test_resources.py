import pytest
from pydantic import ValidationError

from pipeline.spec.resources import Resources, num_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1024", 1024), ("4GiB", 4 << 30), ("500M", 500_000_000), ("1.5 TB", 1_500_000_000_000)],
)
def test_num_bytes_reads_the_units(text: str, expected: int) -> None:
    assert num_bytes(text) == expected
    assert Resources(memory=text, shm=text, disk=text).memory == text


@pytest.mark.parametrize(
    "text", ["", "GiB", "4 Gb", "-1", "1e3", "4GiB\n", "\N{ARABIC-INDIC DIGIT TWO}"]
)
def test_what_is_no_size_is_refused_by_the_field_and_by_num_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a size: .*; write e\.g\. 4GiB"):
        num_bytes(text)
    for field in ("memory", "shm", "disk"):
        with pytest.raises(ValidationError, match="not a size"):
            Resources.model_validate({field: text})
