"""Upstream before downstream, otherwise in file order; and the circles that make it impossible."""

import heapq
from collections.abc import Mapping, Sequence


def topological_order(upstream: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """An order in which each name comes after those it needs.

    Args:
        upstream: name -> names it needs, in file order; each of them is a key.

    Returns:
        The names that can be ordered, and for the others the circles among them, each from its
        first name in file order: ["a", "b"] where a needs b and b needs a.
    """
    position = {name: index for index, name in enumerate(upstream)}
    waiting = {name: len(set(needs)) for name, needs in upstream.items()}
    downstream: dict[str, list[str]] = {name: [] for name in upstream}
    for name, needs in upstream.items():
        for need in set(needs):
            downstream[need].append(name)
    names = list(upstream)
    ready = [position[name] for name, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for below in downstream[name]:
            waiting[below] -= 1
            if waiting[below] == 0:
                heapq.heappush(ready, position[below])
    left = set(upstream).difference(order)
    return order, _circles({name: upstream[name] for name in upstream if name in left}, position)


def _circles(upstream: Mapping[str, Sequence[str]], position: Mapping[str, int]) -> list[list[str]]:
    """At least one circle through every knot; depth first, without recursion."""
    found: dict[tuple[str, ...], None] = {}
    done: set[str] = set()
    for start in upstream:
        trail: list[str] = []
        on_trail: dict[str, int] = {}
        stack: list[tuple[str, bool]] = [(start, True)]
        while stack:
            name, enters = stack.pop()
            if not enters:
                trail.pop()
                del on_trail[name]
                done.add(name)
                continue
            if name in on_trail:
                circle = trail[on_trail[name] :]
                first = circle.index(min(circle, key=position.__getitem__))
                found[tuple(circle[first:] + circle[:first])] = None
                continue
            if name in done or name not in upstream:
                continue
            on_trail[name] = len(trail)
            trail.append(name)
            stack.append((name, False))
            stack += [(need, True) for need in reversed(upstream[name])]
    return [list(circle) for circle in found]
