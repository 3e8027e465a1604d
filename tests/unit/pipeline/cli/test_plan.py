"""How a plan is laid out."""

import pytest

from pipeline.cli.plan import hanging


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (None, "run  one two three four five six"),
        (30, "run  one two three four five\n     six"),
        (27, "run  one two three four\n     five six"),
        (20, "run  one two three four five six"),
    ],
)
def test_hanging_text_stands_below_its_first_line(width: int | None, expected: str) -> None:
    assert hanging("run  ", "one two three four five six", width) == expected
    assert hanging("run  ", "", width) == "run"
