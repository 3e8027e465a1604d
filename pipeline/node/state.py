"""The durable folder of a stage, opened when it is first asked for."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from pipeline.spec.context import State


class StateOnDemand(State):
    """Most stages keep no state; making (and on an object store, restoring) it costs them nothing.

    Raises StoreError where the protocol does, and on first use as well.
    """

    def __init__(self, open_it: Callable[[], State]) -> None:
        """`open_it` is called once, at the first use."""
        self._open_it = open_it

    @cached_property
    def _opened(self) -> State:
        return self._open_it()

    @property
    @override
    def path(self) -> Path:
        return self._opened.path

    @override
    def publish(self, name: str) -> None:
        self._opened.publish(name)

    @override
    def remove(self, name: str) -> None:
        self._opened.remove(name)
