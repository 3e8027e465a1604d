"""Where every value of a stage comes from, for `--show-origin`."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from typing_extensions import override

from pipeline.spec.dag import Origin
from pipeline.spec.tree import Node, dotted

DEFAULT = Origin("default")


class Origins(Mapping[str, Origin]):
    """Dotted path -> Origin of what the file's layers say and of every default; made when asked.

    Blocks are in it beside their leaves: "stages.pretrain.resources" is where that key stands.
    """

    def __init__(
        self, name: str, block: Node, models: Mapping[str, BaseModel], others: Mapping[str, Origin]
    ) -> None:
        """What the paths are made of.

        Args:
            name: the stage's.
            block: what its layers say.
            models: key of the block -> the model that has the defaults.
            others: further key -> Origin, where the block has no such key.
        """
        self._name = name
        self._block = block
        self._models = models
        self._others = others

    @cached_property
    def _found(self) -> dict[str, Origin]:
        base = f"stages.{self._name}"
        found = {
            dotted(path): node.origin for path, node in self._block.walk(("stages", self._name))
        }
        found[base] = self._block.place
        for key, origin in self._others.items():
            found.setdefault(f"{base}.{key}", origin)
        for key, model in self._models.items():
            for path in _leaves(model.model_dump(mode="json"), f"{base}.{key}"):
                found.setdefault(path, DEFAULT)
        return found

    @override
    def __getitem__(self, path: str) -> Origin:
        return self._found[path]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    @override
    def __len__(self) -> int:
        return len(self._found)


def _leaves(value: Any, path: str) -> Iterator[str]:
    """Paths of the scalars, and of what is empty; lists by index."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{index}")
    else:
        yield path
