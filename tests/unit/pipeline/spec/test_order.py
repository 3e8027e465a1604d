"""Topological order and circles."""

import itertools

from pipeline.spec.order import topological_order


def test_topological_order_keeps_given_order_where_it_can() -> None:
    order, circles = topological_order({"d": ["b"], "a": [], "b": ["c"], "c": [], "e": []})
    assert (order, circles) == (["a", "c", "b", "d", "e"], [])


def test_topological_order_finds_every_circle() -> None:
    upstream = {
        "a": ["b"],
        "b": ["a"],
        "c": ["c"],
        "d": ["a"],
        "e": [],
        "f": ["g", "e"],
        "g": ["f"],
    }
    order, circles = topological_order(upstream)
    assert order == ["e"]
    assert circles == [["a", "b"], ["c"], ["f", "g"]]


def test_topological_order_of_a_long_chain_needs_no_recursion() -> None:
    names = [f"s{n}" for n in range(5000)]
    upstream = {name: [below] for name, below in itertools.pairwise(names)}
    order, _ = topological_order({**upstream, names[-1]: []})
    assert order == names[::-1]
    _, circles = topological_order({**upstream, names[-1]: [names[0]]})
    assert circles == [names]
