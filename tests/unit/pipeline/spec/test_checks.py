"""Batch sizes and gangs: what fits is accepted, and what is suggested fits."""

import re
from pathlib import Path

import pytest

from tests.builders import problems

TEXT = """\
name: t
stages:
  cut: {uses: ./toys.py:CUT}
  a:
    uses: ./toys.py:TRAIN
    with: {steps: 1, global_batch_size: SIZE}
    inputs: {shards: cut.shards}
    resources: {nodes: NODES, processes_per_node: RANKS}
    deepspeed: {micro_batch_size: MICRO}
"""


def _text(size: int, nodes: str, ranks: int, micro: str) -> str:
    text = TEXT.replace("SIZE", str(size)).replace("NODES", nodes)
    return text.replace("RANKS", str(ranks)).replace("MICRO", micro)


@pytest.mark.parametrize(
    ("size", "nodes", "ranks", "micro"),
    [
        (48, "1", 1, "null"),
        (48, "2", 8, "3"),
        (60, "{min: 1, max: 5}", 1, "null"),
        (48, "{min: 3, max: 4}", 2, "2"),
    ],
)
def test_check_batches_accepts_what_divides(
    size: int, nodes: str, ranks: int, micro: str, tmp_path: Path
) -> None:
    assert problems(tmp_path, _text(size, nodes, ranks, micro)) == []


@pytest.mark.parametrize(
    ("size", "nodes", "ranks", "micro"),
    [
        (50, "2", 2, "null"),
        (1, "2", 2, "null"),
        (48, "2", 2, "5"),
        (100, "{min: 2, max: 3}", 3, "2"),
    ],
)
def test_check_batches_suggests_sizes_that_fit(
    size: int, nodes: str, ranks: int, micro: str, tmp_path: Path
) -> None:
    (message,) = problems(tmp_path, _text(size, nodes, ranks, micro))
    found = re.search(r"Sizes that fit: (.*)\.$", message)
    assert found is not None
    sizes = [int(text) for text in found[1].split(", ")]
    assert min(sizes) > 0
    for fitting in sizes:
        assert problems(tmp_path, _text(fitting, nodes, ranks, micro)) == []


def test_check_batches_of_a_wide_range_is_told_briefly(tmp_path: Path) -> None:
    (message,) = problems(tmp_path, _text(48, "{min: 1, max: 12}", 1, "null"))
    assert "do not divide by each of 1, 2, 3, ... and 12 ranks" in message
