"""From what `uses:` says to a stage kind, and from a kind to the code it runs."""

import hashlib
import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import lru_cache
from importlib import metadata
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import ConfigError, UserError
from pipeline.spec.stage import StageSpec
from pipeline.spec.suggest import did_you_mean

GROUP = "pipeline.stages"
"""The entry-point group; an installed distribution adds kinds by naming StageSpecs in it."""

_log = logging.getLogger(__name__)


def kind_of(uses: str, folder: Path) -> str:
    """The name a worker finds the kind by: an entry point, or an absolute "/dir/file.py:NAME".

    Args:
        uses: as in the DAG file.
        folder: the DAG file's; relative files start there.
    """
    file, is_file, name = uses.rpartition(".py:")
    return f"{(folder / f'{file}.py').resolve()}:{name}" if is_file else uses


def resolve_kind(uses: str, folder: Path) -> StageSpec:
    """The stage kind behind `uses:`; only its own module is imported.

    Args:
        uses: an entry point of the group `pipeline.stages`, or "./file.py:NAME".
        folder: the DAG file's; relative files start there.

    Raises:
        UserError: there is no such kind, or its module does not import.
    """
    try:
        kind = kind_of(uses, folder)
    except (OSError, RuntimeError, ValueError) as exc:
        msg = f"{uses!r} is no path of a file: {exc}"
        raise UserError(msg) from exc
    file, _, name = kind.rpartition(":")
    return _from_file(Path(file), name) if file.endswith(".py") else _from_entry_point(kind)


def load_kind(kind: str) -> StageSpec:
    """`resolve_kind` for a worker: takes a `Stage.kind`.

    Raises:
        ConfigError: the kind is not installed here or does not import.
    """
    try:
        return resolve_kind(kind, Path("/"))
    except UserError as exc:
        raise ConfigError(str(exc)) from exc


def load_entry(spec: StageSpec, kind: str) -> Callable[..., Any]:
    """The function `spec.run` names; the import of the stage's own code happens here.

    Args:
        spec: the stage kind.
        kind: its `Stage.kind`. For "/dir/my_stage.py:SPEC", "my_stage:run" is in that file.

    Raises:
        ConfigError: module or function do not exist here.
    """
    module_name, _, name = spec.run.partition(":")
    file, is_file, _ = kind.rpartition(":")
    try:
        if is_file and Path(file).stem == module_name:
            module = _module_of(Path(file))
        else:
            module = importlib.import_module(module_name)
    except (ImportError, UserError) as exc:
        msg = f"stage kind {kind}: run={spec.run!r} does not import: {exc}"
        raise ConfigError(msg) from exc
    entry = getattr(module, name, None)
    if not callable(entry):
        msg = f"stage kind {kind}: run={spec.run!r} names no function of {module_name}"
        raise ConfigError(msg)
    return entry  # type: ignore[no-any-return]  # a module's attribute


def kind_names() -> list[str]:
    """Names of the installed kinds, sorted; nothing is imported."""
    return sorted(_entry_points())


def list_kinds() -> list[StageSpec]:
    """Every installed kind; one that does not import is left out with a warning in the log."""
    specs = []
    for name in kind_names():
        try:
            specs.append(_from_entry_point(name))
        except UserError as exc:
            _log.warning("left out: %s", exc)
    return specs


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


@lru_cache
def _from_entry_point(name: str) -> StageSpec:
    point = _entry_points().get(name)
    if point is None:
        hint = did_you_mean(name, _entry_points(), "Kinds")
        msg = f"unknown stage kind {name!r}. {hint} A file of your own: ./my_stage.py:SPEC."
        raise UserError(msg)
    try:
        found = point.load()
    except Exception as exc:
        msg = f"stage kind {name!r} does not import ({point.value}): {_cause(exc)}"
        raise UserError(msg) from exc
    return _checked(found, f"stage kind {name!r} ({point.value})")


def _from_file(file: Path, name: str) -> StageSpec:
    module = _module_of(file)
    if not hasattr(module, name):
        specs = [key for key, value in vars(module).items() if isinstance(value, StageSpec)]
        msg = f"{file} has no {name}. {did_you_mean(name, specs, 'Stage kinds in it')}"
        raise UserError(msg)
    found = _checked(getattr(module, name), f"{file}:{name}")
    entry_module, _, entry = found.run.partition(":")
    # What lies in another module may need torch to be looked at; a worker will tell.
    if entry_module == file.stem and not callable(getattr(module, entry, None)):
        functions = [key for key, value in vars(module).items() if isfunction(value)]
        hint = did_you_mean(entry, functions, "Functions in it")
        msg = f"{file}:{name} says run={found.run!r}, and the file has no such function. {hint}"
        raise UserError(msg)
    return found


def _checked(found: object, where: str) -> StageSpec:
    if not isinstance(found, StageSpec):
        msg = f"{where} is of type {type(found).__name__}, not a StageSpec"
        raise UserError(msg)
    return found


def _module_of(file: Path) -> ModuleType:
    """The module in a file, executed once for each content it had in this process."""
    if file.exists() and not file.is_file():
        msg = f"{file} is no regular file"
        raise UserError(msg)
    try:
        content = file.read_bytes()
    except OSError as exc:
        msg = f"{file} cannot be read: {exc.strerror}"
        raise UserError(msg) from exc
    digest = hashlib.sha256(str(file).encode() + b"\0" + content).hexdigest()[:16]
    # A name of its own: two files called my_stage.py do not meet, and neither hides a package.
    name = f"pipeline_stage_file_{file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None  # as above
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Not `spec.loader.exec_module`: byte code beside the file goes by size and whole seconds.
        # What it prints must not stand in the middle of what the command prints.
        with redirect_stdout(sys.stderr):
            exec(compile(content, str(file), "exec"), vars(module))
    except (Exception, SystemExit) as exc:
        del sys.modules[name]
        msg = f"{file} does not import: {_cause(exc, file)}"
        raise UserError(msg) from exc
    return module


def _cause(exc: BaseException, file: Path | None = None) -> str:
    """The exception on one line, with the line of `file` it came from."""
    if isinstance(exc, SyntaxError):
        return f"line {exc.lineno}: {exc.msg}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(exc.__traceback__)
        if file is not None and frame.filename == str(file)
    ]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(exc).__name__}: {exc}".replace("\n", " ")
