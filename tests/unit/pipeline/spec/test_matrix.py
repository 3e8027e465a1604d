"""Cells of a matrix: addresses, order, and choosing cells by a selector."""

from pathlib import Path

import pytest

from pipeline.spec.matrix import address_of, expand, select
from pipeline.spec.yaml_reader import read_yaml
from tests.builders import problems as load_problems

CELLS = [{"seed": seed, "lr": lr} for seed in (1, 2) for lr in (0.1, 1e-5)]


def test_expand_is_row_major_with_axes_in_file_order() -> None:
    matrix, _ = read_yaml("{seed: [1, 2], data: [imdb, yelp]}", layer="file", file="f")
    cells, problems = expand("finetune", matrix, ("stages", "finetune", "matrix"))
    assert problems == []
    assert [cell.address for cell in cells] == [
        "finetune[seed=1,data=imdb]",
        "finetune[seed=1,data=yelp]",
        "finetune[seed=2,data=imdb]",
        "finetune[seed=2,data=yelp]",
    ]
    assert cells[2].values == {"seed": 2, "data": "imdb"}


def test_expand_without_matrix_is_one_cell() -> None:
    cells, problems = expand("pretrain", None, ())
    assert [(cell.address, cell.values) for cell in cells] == [("pretrain", {})]
    assert problems == []


def test_address_spells_values_as_yaml() -> None:
    assert address_of("a", {"b": True, "x": 0.5, "n": 3, "t": "q"}) == "a[b=true,x=0.5,n=3,t=q]"


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("", [0, 1, 2, 3]),
        ("seed=2", [2, 3]),
        ("lr=0.1", [0, 2]),
        ("seed=1,lr=0.1", [0]),
        ("lr=0.1, seed=2", [2]),
        ("seed=1,lr=1e-5", [1]),
        ("seed=1,lr=0.00001", [1]),
    ],
)
def test_select_takes_the_cells_with_these_values(selector: str, chosen: list[int]) -> None:
    assert select(selector, "a", CELLS) == chosen


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("seed=3", "a has no cell with seed=3; values of seed: 1, 2"),
        ("sed=1", "a has no axis 'sed'. Did you mean seed? Axes: lr, seed."),
        ("2", "'2' is no axis=value"),
        ("seed=1,seed=2", "no cell of a is [seed=1,seed=2]"),
    ],
)
def test_select_says_what_there_is(selector: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        select(selector, "a", CELLS)
    assert str(caught.value) == message


def test_load_environment_value_on_an_axis_is_refused_without_showing_it(tmp_path: Path) -> None:
    text = """
name: t
stages:
  a:
    uses: command
    matrix: {token: ["${env.TOKEN}"]}
    with: {argv: [echo, "${matrix.token}"], outputs: {out: folder}}
"""
    (found,) = load_problems(tmp_path, text, environ={"TOKEN": "s3cret"})
    assert "cannot stand in an address" in found
    assert "s3cret" not in found
