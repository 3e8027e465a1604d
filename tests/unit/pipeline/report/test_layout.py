import random
from itertools import combinations, pairwise

import pytest

from pipeline.report.layout import Layout, Spacing, lay_out

SPACING = Spacing()


def _overlaps(layout: Layout) -> list[tuple[str, str]]:
    boxes = layout.nodes
    return [
        (a, b)
        for a, b in combinations(boxes, 2)
        if abs(boxes[a][0] - boxes[b][0]) < SPACING.width
        and abs(boxes[a][1] - boxes[b][1]) < SPACING.height + SPACING.gap_y - 1e-6
    ]


def _crossings(layout: Layout) -> int:
    """Counted on the drawn segments, not on the layers."""
    segments = [
        (tuple(p), tuple(q))
        for points in layout.edges.values()
        for p, q in pairwise(points)
        if q[0] - p[0] == SPACING.gap_x
    ]
    return sum(
        a[0][0] == b[0][0] and (a[0][1] - b[0][1]) * (a[1][1] - b[1][1]) < -1e-6
        for a, b in combinations(segments, 2)
    )


def test_chain_lies_on_one_line_from_left_to_right() -> None:
    layout = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert [layout.nodes[n][1] for n in "abc"] == [layout.nodes["a"][1]] * 3
    assert layout.nodes["a"][0] < layout.nodes["b"][0] < layout.nodes["c"][0]
    assert layout.height == SPACING.height


def test_order_given_crossed_is_drawn_without_crossing() -> None:
    edges = [("a", "z"), ("b", "y"), ("c", "x")]
    assert _crossings(lay_out(["a", "b", "c", "x", "y", "z"], edges)) == 0


def test_long_edge_goes_round_the_boxes_between() -> None:
    layout = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    beside = [y for x, y in layout.edges["a", "c"] if abs(x - layout.nodes["b"][0]) < 1]
    top = layout.nodes["b"][1]
    assert beside
    assert all(not top <= y <= top + SPACING.height for y in beside)


def test_source_of_a_late_reader_stands_beside_it() -> None:
    layout = lay_out(["a", "b", "late", "c"], [("a", "b"), ("b", "c"), ("late", "c")])
    assert layout.nodes["late"][0] == layout.nodes["b"][0]


@pytest.mark.parametrize("seed", range(4))
def test_random_graph_has_no_overlap_and_edges_point_right(seed: int) -> None:
    draw = random.Random(seed)
    nodes = [f"n{i}" for i in range(60)]
    edges = [(nodes[draw.randrange(i)], nodes[i]) for i in range(1, 60) for _ in range(2)]
    layout = lay_out(nodes, edges)
    assert _overlaps(layout) == []
    for (source, target), points in layout.edges.items():
        assert points[0][0] == layout.nodes[source][0] + SPACING.width
        assert points[-1][0] == layout.nodes[target][0]
        assert all(a[0] < b[0] for a, b in pairwise(points))
    assert layout == lay_out(nodes, edges)
    assert min(y for _, y in layout.nodes.values()) >= 0
    assert max(y for _, y in layout.nodes.values()) + SPACING.height <= layout.height + 1e-6


def test_no_nodes_is_an_empty_picture() -> None:
    assert lay_out([], []) == Layout(0.0, 0.0, {}, {})


def test_chain_with_all_edges_to_the_end_is_laid_out_in_time() -> None:
    nodes = [f"n{i}" for i in range(400)]
    edges = [*pairwise(nodes), *((node, nodes[-1]) for node in nodes[:-2])]
    layout = lay_out(nodes, edges)  # 79,000 stand-ins would take minutes
    assert len(layout.edges) == len(edges)
