"""Where the nodes of a layered graph go: left to right, few crossings, straight edges.

The steps are those of Sugiyama, Tagawa and Toda 1981: layers by longest path, stand-ins where an
edge passes a layer, order by barycentres, then positions. Drawing is `graph`'s.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 8
_MAX_STANDINS = 20_000
"""Above it long edges are drawn straight: a huge graph is still laid out in seconds."""


@dataclass(frozen=True)
class Spacing:
    """Sizes in pixels of nodes, of the room between them, and of an edge passing a layer."""

    width: float = 172
    height: float = 46
    gap_x: float = 52
    gap_y: float = 14
    pass_height: float = 6


@dataclass(frozen=True)
class Layout:
    """Left upper corners of the nodes, points (right of source ... left of target) of each edge."""

    width: float
    height: float
    nodes: Mapping[str, tuple[float, float]]
    edges: Mapping[tuple[str, str], Sequence[tuple[float, float]]]


_Node = str | tuple[str, str, int]
"""A node, or an edge's stand-in at a layer."""


def lay_out(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]], spacing: Spacing | None = None
) -> Layout:
    """Lays a graph out; the same input gives the same picture.

    Args:
        nodes: sources of edges before their targets, as a DAG lists its stages.
        edges: (source, target); repeated ones count once.
        spacing: sizes; default those of the report.
    """
    spacing = spacing or Spacing()
    edges = list(dict.fromkeys(edges))
    layer_of = _layers(nodes, edges)
    layers, chains = _with_standins(nodes, edges, layer_of)
    below: dict[_Node, list[_Node]] = {}
    above: dict[_Node, list[_Node]] = {}
    for chain in chains.values():
        for one, other in pairwise(chain):
            below.setdefault(one, []).append(other)
            above.setdefault(other, []).append(one)
    layers = _ordered(layers, above, below)
    centres = _centres(layers, above, below, spacing)
    step = spacing.width + spacing.gap_x
    top = min((centres[n] - _half(n, spacing) for layer in layers for n in layer), default=0.0)
    bottom = max((centres[n] + _half(n, spacing) for layer in layers for n in layer), default=0.0)
    drawn = {}
    for (source, target), chain in chains.items():
        points = [(layer_of[source] * step + spacing.width, centres[source] - top)]
        for standin in chain[1:-1]:
            left = standin[2] * step if isinstance(standin, tuple) else 0.0
            points += [
                (left, centres[standin] - top),
                (left + spacing.width, centres[standin] - top),
            ]
        drawn[source, target] = [*points, (layer_of[target] * step, centres[target] - top)]
    return Layout(
        width=max(0.0, len(layers) * step - spacing.gap_x),
        height=bottom - top,
        nodes={n: (layer_of[n] * step, centres[n] - top - spacing.height / 2) for n in nodes},
        edges=drawn,
    )


def _layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    sources: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    for source, target in edges:
        sources.setdefault(target, []).append(source)
        targets.setdefault(source, []).append(target)
    layer: dict[str, int] = {}
    for node in nodes:
        layer[node] = max((layer[source] + 1 for source in sources.get(node, ())), default=0)
    for node in nodes:
        # What nothing feeds stands beside its first reader, not at the far left.
        if node not in sources and node in targets:
            layer[node] = min(layer[target] for target in targets[node]) - 1
    return layer


def _with_standins(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]], layer_of: Mapping[str, int]
) -> tuple[list[list[_Node]], dict[tuple[str, str], list[_Node]]]:
    layers: list[list[_Node]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node in nodes:
        layers[layer_of[node]].append(node)
    total = sum(layer_of[target] - layer_of[source] - 1 for source, target in edges)
    chains: dict[tuple[str, str], list[_Node]] = {}
    for source, target in edges:
        between = range(layer_of[source] + 1, layer_of[target]) if total <= _MAX_STANDINS else ()
        standins: list[_Node] = [(source, target, number) for number in between]
        for number, standin in zip(between, standins, strict=True):
            layers[number].append(standin)
        chains[source, target] = [source, *standins, target]
    return layers, chains


def _ordered(
    layers: list[list[_Node]],
    above: Mapping[_Node, list[_Node]],
    below: Mapping[_Node, list[_Node]],
) -> list[list[_Node]]:
    """The order within each layer that crossed least, of several sweeps by barycentres."""
    best, fewest = layers, _crossings(layers, below)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        layers = [list(layer) for layer in layers]
        forward = sweep % 2 == 0
        neighbours = above if forward else below
        numbers = range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1)
        for number in numbers:
            beside = layers[number - 1 if forward else number + 1]
            place = {node: float(index) for index, node in enumerate(beside)}
            own = {node: float(index) for index, node in enumerate(layers[number])}
            layers[number].sort(key=lambda n: _mean(neighbours.get(n, ()), place, own[n]))
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _mean(nodes: Sequence[_Node], place: Mapping[_Node, float], default: float) -> float:
    known = [place[node] for node in nodes if node in place]
    return sum(known) / len(known) if known else default


def _crossings(layers: Sequence[Sequence[_Node]], below: Mapping[_Node, list[_Node]]) -> int:
    """Pairs of edges that cross: inversions of the edges' ends, layer by layer."""
    total = 0
    for layer, following in pairwise(layers):
        place = {node: index for index, node in enumerate(following)}
        seen: list[int] = []
        for node in layer:
            ends = sorted(place[end] for end in below.get(node, ()) if end in place)
            total += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _half(node: _Node, spacing: Spacing) -> float:
    return (spacing.height if isinstance(node, str) else spacing.pass_height) / 2


def _centres(
    layers: Sequence[Sequence[_Node]],
    above: Mapping[_Node, list[_Node]],
    below: Mapping[_Node, list[_Node]],
    spacing: Spacing,
) -> dict[_Node, float]:
    """Vertical centres: each node as near to its neighbours as order and room allow."""
    centres: dict[_Node, float] = {}
    for layer in layers:
        offsets = _offsets(layer, spacing)
        middle = offsets[-1] / 2 if offsets else 0.0
        centres |= {node: at - middle for node, at in zip(layer, offsets, strict=True)}
    for sweep in range(_SWEEPS):
        neighbours, order = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        for layer in order:
            wanted = [_mean(neighbours.get(node, ()), centres, centres[node]) for node in layer]
            centres |= zip(layer, _spread(wanted, _offsets(layer, spacing)), strict=True)
    return centres


def _offsets(layer: Sequence[_Node], spacing: Spacing) -> list[float]:
    """Centres of a layer packed as tightly as it may be, from 0."""
    offsets: list[float] = []
    for number, node in enumerate(layer):
        if number == 0:
            offsets.append(0.0)
        else:
            room = _half(layer[number - 1], spacing) + spacing.gap_y + _half(node, spacing)
            offsets.append(offsets[-1] + room)
    return offsets


def _spread(wanted: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """The centres nearest to those wanted, by least squares, that keep order and room.

    With the packed offsets taken off, order and room together mean "not falling": isotonic
    regression, by pooling adjacent violators.
    """
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, size = want - offset, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]
