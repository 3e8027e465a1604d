"""The Source fields of a configuration: where they are, and their paths made absolute."""

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.spec.config import SourceText, StageConfig
from pipeline.storage.sources import is_url

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class SourceField:
    """One Source of a configuration: ("sources", "script") and its text."""

    path: tuple[str | int, ...]
    text: str


def source_fields(config: BaseModel) -> list[SourceField]:
    """Every Source in a configuration, nested models, lists and mappings included."""
    return list(_walk(config, ()))


def absolute_sources(config: StageConfig, folder: Path) -> StageConfig:
    """The configuration with each relative Source made absolute; URLs stay."""
    relative = [field for field in source_fields(config) if not _is_absolute(field.text)]
    if not relative:
        return config
    data = config.model_dump(mode="json")
    for field in relative:
        holder: Any = data
        for part in field.path[:-1]:
            holder = holder[part]
        # Signs of a glob in the folder's own name stand for themselves.
        base = glob.escape(str(folder)) if _MAGIC.search(field.text) else str(folder)
        holder[field.path[-1]] = os.path.normpath(f"{base}/{field.text}")
    return type(config).model_validate(data)


def names_a_file(source: str) -> bool:
    """Whether there is at least one file behind an absolute local Source; cheap for big folders."""
    if os.path.isdir(source):  # noqa: PTH112 - the text may be a glob
        return any(files for _, _, files in os.walk(source))
    return os.path.isfile(source) or next(glob.iglob(source, recursive=True), None) is not None  # noqa: PTH113, PTH207 - see above


def _is_absolute(text: str) -> bool:
    return is_url(text) or text.startswith("/")


def _walk(value: Any, path: tuple[str | int, ...]) -> Iterator[SourceField]:
    if isinstance(value, SourceText):
        yield SourceField(path, str(value))
    elif isinstance(value, BaseModel):
        for name, item in value:
            yield from _walk(item, (*path, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))
