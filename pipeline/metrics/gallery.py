"""Pictures on disk: one .npz file each, read without running anything pickled."""

import dataclasses
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from pipeline.metrics.pictures import Picture
from pipeline.storage.files import replace_file

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Picture)}
_TEXT = "text"


@dataclass(frozen=True)
class Shown:
    """A picture and the step at which it was shown."""

    step: int
    picture: Picture


def save_picture(folder: Path, picture: Picture, step: int) -> Path:
    """Writes `<step>-<n>.npz` into the folder, whole or not at all.

    Arrays are entries of their own; everything else is one JSON text in the entry "text".

    Raises:
        OSError: the folder cannot be written.
    """
    values = {f.name: getattr(picture, f.name) for f in dataclasses.fields(picture)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    text = {name: value for name, value in values.items() if name not in arrays}
    described = json.dumps({"kind": type(picture).__name__, "step": step, "fields": text})
    buffer = io.BytesIO()
    entries: dict[str, Any] = {_TEXT: np.array(described), **arrays}
    np.savez_compressed(buffer, **entries)
    number = sum(1 for _ in folder.glob(f"{step:09d}-*.npz"))
    path = folder / f"{step:09d}-{number}.npz"
    replace_file(path, buffer.getvalue(), durable=False)
    return path


def load_picture(path: Path) -> Shown:
    """What `save_picture` wrote; sequences come back as lists.

    Raises:
        ValueError: the file is not a picture.
    """
    with np.load(path, allow_pickle=False) as stored:
        described = json.loads(str(stored[_TEXT]))
        arrays = {name: stored[name] for name in stored.files if name != _TEXT}
    kind = _KINDS.get(described["kind"])
    if kind is None:
        msg = f"{path} holds a picture of the unknown kind {described['kind']!r}"
        raise ValueError(msg)
    picture = cast("Picture", kind(**described["fields"], **arrays))
    return Shown(described["step"], picture)


def load_pictures(folder: Path) -> Iterator[Shown]:
    """All pictures of an attempt, in the order of their steps."""
    for path in sorted(folder.glob("*.npz")):
        yield load_picture(path)
