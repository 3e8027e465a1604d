"""Pictures of attempts, made ready for the page: what is shown of each type, and which steps."""

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.metrics.gallery import load_picture
from pipeline.metrics.pictures import (
    Audio,
    Boxes,
    Heatmap,
    Images,
    Lines,
    Picture,
    Spans,
    Table,
)
from pipeline.metrics.recorder import PICTURES_FOLDER
from pipeline.report.encode import audio_url, envelope, heat_gradient, heat_url, image_url
from pipeline.report.notes import Note
from pipeline.runner.state import RunState

MAX_STEPS = 6
"""Steps shown of pictures with one title: the first, the last and some between."""
MAX_BYTES = 8_000_000
"""Of all pictures of a page."""
_MAX_UNPACKED = 256 << 20
_MAX_ROWS = 200
_MAX_IMAGES = 64
_MAX_BOXES = 300
_MAX_PIECES = 2_000
_MAX_LINE_POINTS = 4_000
_MAX_CELLS = 6_000
"""Cells of a heatmap whose values travel along, to be read under the pointer."""
_WIDE_COLUMNS = 36
"""A heatmap with more has the whole width of the page."""
_WAVE_BARS = 240
_NUM_COLOURS = 8
_MEANT = {"right": 2, "near": 6, "wrong": 7}
"""Labels whose colour says something."""
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy, zipfile and our own checks raise for a file that is no picture."""


@dataclass(frozen=True)
class Frame:
    """A picture at a step: `kind` names its template, `data` is what that takes."""

    step: int
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Album:
    """What a stage showed under one title."""

    stage: str
    title: str
    frames: Sequence[Frame]
    num_steps: int


class Gallery:
    """The pictures of a run; one that was read before is not read again."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int], tuple[str, Frame] | Note] = {}

    def albums(self, state: RunState) -> tuple[list[Album], list[Note]]:
        """The albums of all stages, and a note for each picture that cannot be shown."""
        albums: list[Album] = []
        notes: list[Note] = []
        num_bytes = num_left_out = 0
        for stage in state.stages.values():
            shown: dict[str, dict[int, Frame]] = {}
            for attempt in stage.attempts:
                for path in sorted((Path(attempt.folder) / PICTURES_FOLDER).glob("*.npz")):
                    found = self._read(path, stage.address)
                    if isinstance(found, Note):
                        notes.append(found)
                    else:
                        # A step that a later attempt did again is shown as it was then.
                        title, frame = found
                        shown.setdefault(title, {})[frame.step] = frame
            for title, frames in shown.items():
                steps = sorted(frames)
                kept = [frames[step] for step in _some(steps)]
                size = sum(_size(frame) for frame in kept)
                if num_bytes + size > MAX_BYTES:
                    num_left_out += 1
                    continue
                num_bytes += size
                albums.append(Album(stage.address, title, kept, len(steps)))
        if num_left_out:
            text = f"{num_left_out} more pictures would make the page too large and are left out"
            notes.append(Note("warning", "run", text))
        return albums, notes

    def _read(self, path: Path, stage: str) -> tuple[str, Frame] | Note:
        try:
            key = (path, path.stat().st_mtime_ns)
            if key not in self._known:
                self._known[key] = _read(path)
            return self._known[key]
        except _UNREADABLE as exc:
            text = f"picture {path.name} cannot be shown: {type(exc).__name__}: {exc}"
            return Note("warning", stage, text)


def frame_of(picture: Picture, step: int) -> Frame:
    """What the page shows of a picture.

    Raises:
        ValueError, TypeError: its arrays do not have the shapes of its type.
    """
    prepare = _PREPARE[type(picture)]
    return Frame(step, type(picture).__name__.lower(), prepare(picture))


def _read(path: Path) -> tuple[str, Frame]:
    with zipfile.ZipFile(path) as file:
        if sum(entry.file_size for entry in file.infolist()) > _MAX_UNPACKED:
            msg = f"it unpacks to more than {_MAX_UNPACKED >> 20} MiB"
            raise ValueError(msg)
    shown = load_picture(path)
    return str(shown.picture.title), frame_of(shown.picture, int(shown.step))


def _some(steps: Sequence[int]) -> list[int]:
    places = np.unique(np.linspace(0, len(steps) - 1, MAX_STEPS).round().astype(int))
    return [steps[place] for place in places]


def _size(frame: Frame) -> int:
    return len(json.dumps(frame.data, default=str))


def _table(picture: Table) -> dict[str, Any]:
    columns = [str(column) for column in picture.columns]
    rows = [list(row) for row in picture.rows]
    return {"columns": columns, "rows": rows[:_MAX_ROWS], "left_out": max(0, len(rows) - _MAX_ROWS)}


def _lines(picture: Lines) -> dict[str, Any]:
    x = np.asarray(picture.x, dtype=float)
    order = np.argsort(x, kind="stable")
    order = order[np.isfinite(x[order])]
    if len(order) > _MAX_LINE_POINTS:
        order = order[np.linspace(0, len(order) - 1, _MAX_LINE_POINTS).astype(int)]
    ys = {}
    for name, values in picture.ys.items():
        y = np.asarray(values, dtype=float)
        if y.shape != x.shape:
            msg = f"the line {name!r} has {y.shape} values over {x.shape} places"
            raise ValueError(msg)
        ys[str(name)] = [_number(value) for value in y[order].tolist()]
    chart = {
        "x": [_number(value) for value in x[order].tolist()],
        "ys": ys,
        "xLabel": str(picture.x_label),
        "yLabel": str(picture.y_label),
    }
    return {"chart": json.dumps(chart)}


def _heatmap(picture: Heatmap) -> dict[str, Any]:
    values = np.asarray(picture.values, dtype=np.float32)
    rows, columns = list(map(str, picture.row_names)), list(map(str, picture.column_names))
    if values.shape != (len(rows), len(columns)) or not values.size:
        msg = f"{values.shape} values for {len(rows)} rows and {len(columns)} columns"
        raise ValueError(msg)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    cells = [_number(v) for v in values.ravel().tolist()] if values.size <= _MAX_CELLS else []
    return {
        "url": heat_url(values, low, high),
        "shape": values.shape,
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "gradient": heat_gradient(),
        "rows": rows,
        "columns": columns,
        "wide": len(columns) > _WIDE_COLUMNS,
        "names_fit": len(rows) <= 40 and len(columns) <= 80,
        "cells": json.dumps({"rows": rows, "columns": columns, "values": cells} if cells else None),
    }


def _images(picture: Images) -> dict[str, Any]:
    pixels = _pixels(picture.pixels, 4)
    if len(picture.captions) != len(pixels):
        msg = f"{len(picture.captions)} captions for {len(pixels)} images"
        raise ValueError(msg)
    shown = [
        {"url": image_url(image), "caption": str(caption), "width": image.shape[1]}
        for image, caption in zip(pixels[:_MAX_IMAGES], picture.captions, strict=False)
    ]
    return {"images": shown, "left_out": max(0, len(pixels) - _MAX_IMAGES)}


def _boxes(picture: Boxes) -> dict[str, Any]:
    pixels = _pixels(picture.pixels, 3)
    boxes = np.asarray(picture.boxes, dtype=float).reshape(-1, 4)
    if len(boxes) != len(picture.labels):
        msg = f"{len(picture.labels)} labels for {len(boxes)} boxes"
        raise ValueError(msg)
    labels = [str(label) for label in picture.labels]
    colours = _colours(label.partition(" ")[0] for label in labels)
    drawn = [
        {
            "x": left, "y": top, "width": max(0.0, right - left), "height": max(0.0, bottom - top),
            "label": label, "colour": colours[label.partition(" ")[0]],
        }
        for (left, top, right, bottom), label in zip(boxes.tolist(), labels, strict=True)
        if all(map(math.isfinite, (left, top, right, bottom)))
    ][:_MAX_BOXES]  # fmt: skip
    height, width, _ = pixels.shape
    return {"url": image_url(pixels), "width": width, "height": height, "boxes": drawn}


def _spans(picture: Spans) -> dict[str, Any]:
    if len(picture.pieces) != len(picture.labels):
        msg = f"{len(picture.labels)} labels for {len(picture.pieces)} pieces"
        raise ValueError(msg)
    labels = [str(label) for label in picture.labels]
    colours = _colours(label for label in labels if label)
    pieces = [
        {"text": str(piece), "label": label, "colour": colours.get(label)}
        for piece, label in zip(picture.pieces, labels, strict=True)
    ]
    return {
        "pieces": pieces[:_MAX_PIECES],
        "legend": list(colours.items())[: 2 * _NUM_COLOURS],
        "left_out": max(0, len(pieces) - _MAX_PIECES),
    }


def _audio(picture: Audio) -> dict[str, Any]:
    samples = np.asarray(picture.samples, dtype=np.float32)
    rate = int(picture.sample_rate)
    if samples.ndim != 1 or rate <= 0:
        msg = f"{samples.shape} samples at {rate} Hz are no clip"
        raise ValueError(msg)
    bars = [
        {
            "x": number,
            "y": round(50 - 48 * high, 2),
            "height": round(max(1.0, 48 * (high - low)), 2),
        }
        for number, (low, high) in enumerate(envelope(np.clip(samples, -1, 1), _WAVE_BARS))
    ]
    seconds = len(samples) / rate
    return {"url": audio_url(samples, rate), "bars": bars, "about": f"{seconds:.2f} s at {rate} Hz"}


def _pixels(pixels: Any, ndim: int) -> Any:
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or array.ndim != ndim or array.shape[-1] != 3 or not array.size:
        msg = f"{array.shape} {array.dtype} is no picture of (height, width, 3) uint8"
        raise ValueError(msg)
    return array


def _colours(labels: Any) -> dict[str, int]:
    """Label -> number of its colour, in order of appearance."""
    found = dict.fromkeys(labels)
    others = [
        n for n in range(_NUM_COLOURS) if n not in _MEANT.values() or not found.keys() & _MEANT
    ]
    return {
        label: _MEANT.get(label, others[number % len(others)]) for number, label in enumerate(found)
    }


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


_PREPARE: Mapping[type[Any], Callable[[Any], dict[str, Any]]] = {
    Table: _table,
    Lines: _lines,
    Heatmap: _heatmap,
    Images: _images,
    Boxes: _boxes,
    Spans: _spans,
    Audio: _audio,
}
