"""Laws of reading a DAG: YAML, references, matrices, layers, order."""

import itertools
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.spec.dag import Origin
from pipeline.spec.interpolation import Interpolator
from pipeline.spec.layers import Overlay, lay, set_overlay
from pipeline.spec.matrix import expand, select
from pipeline.spec.order import topological_order
from pipeline.spec.scalars import resolve_scalar, scalar_text
from pipeline.spec.tree import Node
from pipeline.spec.yaml_reader import read_yaml

HERE = Origin("file", "f.yaml", 1, 1)
KEYS = st.text(alphabet="abcdefgh", min_size=1, max_size=4)
# YAML forbids control characters; the others a JSON text may hold, it may too.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def _tree(value: Any) -> Node:
    if isinstance(value, dict):
        return Node({key: _tree(item) for key, item in value.items()}, HERE)
    if isinstance(value, list):
        return Node([_tree(item) for item in value], HERE)
    return Node(value, HERE)


def _interpolator(params: dict[str, Any]) -> Interpolator:
    return Interpolator({name: _tree(value) for name, value in params.items()}, {})


@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_read_yaml_reads_json_as_json(value: dict[str, Any]) -> None:
    node, problems = read_yaml(json.dumps(value, ensure_ascii=False), layer="file", file="f")
    assert problems == []
    assert node.plain() == value


@given(st.text(alphabet="ab1:-,?&*!|>'\"%@#[]{}\n\t .<~\\0x\u20ac\u0085", max_size=40))
def test_read_yaml_of_anything_reads_or_says_why(text: str) -> None:
    try:
        node, _ = read_yaml(text, layer="file", file="f")
    except UserError:
        return
    json.dumps(node.plain(), allow_nan=False)


@given(SCALARS.filter(lambda value: not isinstance(value, str)))
def test_scalar_text_is_read_back(value: Any) -> None:
    found = resolve_scalar(scalar_text(value))
    assert found == value
    assert type(found) is type(value)


@given(VALUES)
def test_replace_whole_reference_gives_the_value_itself(value: Any) -> None:
    params = {"x": _escaped(value)}
    found, _ = _interpolator(params).replace_in(Node("${params.x}", HERE), ())
    assert found.plain() == value


@given(TEXTS, TEXTS, st.integers())
def test_replace_inside_a_text_changes_nothing_around(before: str, after: str, number: int) -> None:
    # A "$" right before a reference would make it an escape.
    text = f"{_escaped(before)}<${{params.x}}>{_escaped(after)}"
    found, _ = _interpolator({"x": number}).replace_in(Node(text, HERE), ())
    assert found.plain() == f"{before}<{number}>{after}"


@given(st.text(alphabet="${}pams.x"))
def test_replace_of_an_escaped_text_is_the_text(text: str) -> None:
    interpolator = _interpolator({})
    found, _ = interpolator.replace_in(Node(_escaped(text), HERE), ())
    assert (found.plain(), interpolator.problems) == (text, [])


@given(VALUES.map(lambda value: json.loads(json.dumps(value).replace("${", ""))))
def test_replace_without_references_shares_the_tree(value: Any) -> None:
    tree = _tree(value)
    assert _interpolator({}).replace_in(tree, ())[0] is tree


AXIS_VALUES = st.lists(
    st.integers(-5, 5) | st.booleans() | st.sampled_from([0.1, 1e-5, 2.5]) | KEYS,
    min_size=1,
    max_size=4,
    unique_by=scalar_text,
)


@given(st.dictionaries(KEYS, AXIS_VALUES, min_size=1, max_size=3))
def test_expand_is_the_row_major_product(axes: dict[str, list[Any]]) -> None:
    cells, problems = expand("s", _tree(axes), ())
    assert problems == []
    assert len({cell.address for cell in cells}) == math.prod(map(len, axes.values()))
    product = itertools.product(*axes.values())
    assert [tuple(cell.values.values()) for cell in cells] == list(product)


@given(st.dictionaries(KEYS, AXIS_VALUES, min_size=1, max_size=3), st.randoms())
def test_select_of_a_cells_values_is_that_cell(axes: dict[str, list[Any]], random: Any) -> None:
    cells, _ = expand("s", _tree(axes), ())
    values = [cell.values for cell in cells]
    index = random.randrange(len(cells))
    named = [f"{axis}={scalar_text(value)}" for axis, value in values[index].items()]
    random.shuffle(named)
    assert select(",".join(named), "s", values) == [index]
    chosen = select(named[0], "s", values)
    assert len(chosen) * len(axes[named[0].partition("=")[0]]) == len(cells)


PATHS = st.lists(KEYS, min_size=1, max_size=3)


@given(st.dictionaries(KEYS, VALUES, max_size=3), PATHS, SCALARS, SCALARS)
def test_lay_last_value_wins_and_stands_alone(
    before: dict[str, Any], path: list[str], first: Any, last: Any
) -> None:
    root = _tree({"stages": {"s": {"uses": "k", "with": before}}})
    whole = ("stages", "s", "with", *path)
    result, problems = lay(root, [Overlay(whole, _tree(first)), Overlay(whole, _tree(last))])
    if problems:
        # Only where something that is no mapping stands in the way, and then nothing changes.
        assert result.plain() == root.plain()
        assert {"with nothing below it", "there is no item"} & {
            phrase
            for one in problems
            for phrase in ("with nothing below it", "there is no item")
            if phrase in one.message
        }
        return
    assert result.find(whole)[0].value == last
    others = result.plain()["stages"]["s"]["with"]
    others.pop(path[0])
    assert others == {key: value for key, value in before.items() if key != path[0]}


@given(VALUES)
def test_set_overlay_reads_its_value_as_yaml(value: Any) -> None:
    overlays, problems = set_overlay(f"a.b={json.dumps(value, ensure_ascii=False)}")
    assert problems == []
    assert [(one.path, one.node.plain()) for one in overlays] == [(("a", "b"), value)]


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=10, max_size=10))
def test_topological_order_puts_upstream_first(edges: list[list[int]]) -> None:
    upstream = {str(n): [str(need) for need in needs] for n, needs in enumerate(edges)}
    order, circles = topological_order(upstream)
    for index, name in enumerate(order):
        assert set(upstream[name]) <= set(order[:index])
    assert bool(circles) == (len(order) < len(upstream))
    for circle in circles:
        for name, need in itertools.pairwise([*circle, circle[0]]):
            assert need in upstream[name]


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
