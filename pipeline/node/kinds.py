"""Finds a stage kind and its entry point by name."""

import importlib
import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.spec.stage import StageSpec


def load_kind(kind: str) -> StageSpec:
    """The spec behind an entry-point name or `/abs/file.py:NAME`."""
    if ".py:" in kind:
        file, _, name = kind.rpartition(":")
        spec: StageSpec = getattr(_module(file), name)
        return spec
    (point,) = metadata.entry_points(group="pipeline.stages", name=kind)
    found: StageSpec = point.load()
    return found


def load_entry(spec: StageSpec) -> Any:
    """The function behind `spec.run`."""
    module, _, name = spec.run.partition(":")
    return getattr(
        _module(module) if module.endswith(".py") else importlib.import_module(module), name
    )


def _module(file: str) -> Any:
    name = Path(file).stem
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, file)
        assert found is not None
        assert found.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]
