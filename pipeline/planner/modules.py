"""Where modules lie on disk, found by their names and without importing any."""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Module:
    """A module that is a Python file."""

    name: str
    file: Path


class Modules:
    """Finds the files of modules as an import would."""

    def __init__(self, beside: Path | None = None) -> None:
        """`beside`: a folder whose own files can be imported by their bare names, None for none."""
        self._beside = beside

    def is_beside(self, name: str) -> bool:
        """Whether the module's top-level part lies in the folder of bare names."""
        if self._beside is None or not name:
            return False
        top = name.partition(".")[0]
        return (self._beside / f"{top}.py").is_file() or (self._beside / top).is_dir()

    def along(self, name: str) -> Iterator[Module]:
        """The module and every package above it, as importing it runs them; what exists of it."""
        parts = name.split(".") if name else []
        for length in range(1, len(parts) + 1):
            module = ".".join(parts[:length])
            if (file := self._file(module)) is not None:
                yield Module(module, file)

    def below(self, package: str) -> Iterator[Module]:
        """The package and everything below it; a module that is no package stands alone."""
        yield from self.along(package)
        folder = self._folder(package)
        if folder is None:
            return
        for base, folders, files in os.walk(folder):
            folders[:] = sorted(one for one in folders if one != "__pycache__")
            inner = Path(base).relative_to(folder).parts
            for file in sorted(files):
                stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a name, not a path
                if suffix == ".py":
                    own = [] if stem == "__init__" else [stem]
                    yield Module(".".join([package, *inner, *own]), Path(base, file))

    def _file(self, name: str) -> Path | None:
        base = self._base(name)
        if base is None:
            return None
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
        return None

    def _folder(self, name: str) -> Path | None:
        base = self._base(name)
        return base if base is not None and base.is_dir() else None

    def _base(self, name: str) -> Path | None:
        """The path of a module without the ending of a file."""
        top, *rest = name.split(".")
        root = self._beside / top if self._beside and self.is_beside(name) else _root(top)
        return None if root is None else root.joinpath(*rest)


@lru_cache(maxsize=256)
def _root(package: str) -> Path | None:
    """The folder of a top-level package, or its file without the ending; nothing is imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).with_suffix("")
