"""The parts of the page: what each is rendered from, and the rendered text."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.numbers import duration, moment, rate, size
from pipeline.report.gather import Artifact, RunView
from pipeline.report.graph import anchor, base_name, draw
from pipeline.report.notes import Note
from pipeline.report.pictures import Album
from pipeline.report.timeline import timeline_of
from pipeline.runner.state import StageState, StageStatus

_MAX_FILES = 12
_MAX_KEY_SCORES = 6
_MAX_DIFFERENCES = 200
_MAIN_PACKAGES = (
    *("pretraining-pipeline", "torch", "torchvision", "torchaudio", "deepspeed", "numpy"),
    *("sentencepiece", "safetensors", "webdataset", "fsspec"),
)


@dataclass(frozen=True)
class Part:
    """A section; its name is its id in the page."""

    name: str
    title: str
    html: Markup

    @property
    def digest(self) -> str:
        """Tells a browser whether it has this text."""
        return text_digest(self.html)


class KeyScore(NamedTuple):
    """A score for the top of the page; of the cells of a matrix the lowest and the highest."""

    stage: str
    name: str
    low: float
    high: float
    num_cells: int


def text_digest(text: str) -> str:
    """Short; of what a browser is sent."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def parts_of(
    views: Sequence[RunView], albums: Sequence[Album], notes: Sequence[Note]
) -> list[Part]:
    """Every section but the curves, in the order of the page; `views[0]` is what it is about."""
    view = views[0]
    groups = [(stage, list(some)) for stage, some in groupby(albums, lambda album: album.stage)]
    made: list[tuple[str, str, Mapping[str, Any]]] = [
        ("summary", "Summary", _summary(view)),
        ("notes", "Warnings", {"view_notes": notes}),
        ("graph", "Graph", {"drawing": draw(view.state)}),
        ("timeline", "Timeline", {"timeline": timeline_of(view.state, view.read_at)}),
        ("curves", "Curves", {}),
        ("results", "Results", _results(views)),
        ("pictures", "Pictures", {"album_groups": groups}),
        ("stages", "Stages", {"stage_rows": _stage_rows(view)}),
        ("settings", "Settings", {"setting_groups": _setting_groups(view)}),
        ("artifacts", "Artifacts", {"artifact_rows": list(map(_artifact, view.artifacts))}),
        ("environment", "Environment", _environment(view)),
    ]
    return [Part(name, title, _render(name, view, values)) for name, title, values in made]


@cache
def templates() -> Environment:
    """The page's templates; every value that is put into one is escaped."""
    made = Environment(
        loader=PackageLoader("pipeline.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Callable[..., str]] = {
        "duration": duration, "moment": moment, "size": size, "rate": rate, "cell": _cell,
    }  # fmt: skip
    made.filters.update(filters)
    return made


def _render(name: str, view: RunView, values: Mapping[str, Any]) -> Markup:
    if name == "curves":
        return Markup("")
    text = templates().get_template(f"{name}.html.j2").render(view=view, **values)
    return Markup(text)


def _cell(value: object) -> str:
    """A value for a table; numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def _summary(view: RunView) -> dict[str, Any]:
    seconds = (reuse.seconds for reuse in view.reused.values())
    return {
        "key_scores": _key_scores(view),
        "saved_seconds": sum(second for second in seconds if second is not None),
    }


def _key_scores(view: RunView) -> list[KeyScore]:
    """Scores of the stages behind which no other stage has scores, the last stages first."""
    has_later: set[str] = set()
    for address in reversed(view.state.stages):
        stage = view.state.stages[address]
        if address in view.scores or address in has_later:
            has_later.update(stage.upstream)
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for address in reversed(view.state.stages):
        if address not in has_later:
            for name, value in view.scores.get(address, {}).items():
                found.setdefault((base_name(address), name), []).append((address, value))
    tiles = []
    for (base, name), cells in found.items():
        values = [value for _, value in cells]
        shown = base if len(cells) > 1 else cells[0][0]
        tiles.append(KeyScore(shown, name, min(values), max(values), len(cells)))
    return tiles[:_MAX_KEY_SCORES]


def _results(views: Sequence[RunView]) -> dict[str, Any]:
    names = list(
        dict.fromkeys(
            (stage, score)
            for view in views
            for stage, scores in view.scores.items()
            for score in scores
        )
    )
    rows = [
        [stage, score, *(view.scores.get(stage, {}).get(score, "") for view in views)]
        for stage, score in names
    ]
    values = ["Value"] if len(views) == 1 else [view.state.run for view in views]
    differences = _differences(views) if len(views) > 1 else None
    return {
        "score_columns": ["Stage", "Score", *values],
        "score_rows": rows,
        "difference_columns": ["Setting", *values],
        "differences": differences[:_MAX_DIFFERENCES] if differences is not None else None,
        "num_differences_left_out": max(0, len(differences or ()) - _MAX_DIFFERENCES),
    }


def _differences(views: Sequence[RunView]) -> list[list[str]]:
    """Settings that are not the same in all runs, and which code each stood on."""
    sides = []
    for view in views:
        side = {
            f"{address}.{path}": text
            for address, settings in view.record.settings.items()
            for path, (text, _) in settings.items()
        }
        for checkout in view.record.code:
            side[f"code in {Path(checkout.folder).name}"] = checkout.commit[:12]
        side |= {f"version of {name}": text for name, text in view.record.packages.items()}
        sides.append(side)
    paths = dict.fromkeys(path for side in sides for path in side)
    rows = [[path, *(side.get(path, "") for side in sides)] for path in paths]
    return [row for row in rows if len(set(row[1:])) > 1]


def _stage_rows(view: RunView) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "anchor": anchor(stage.address), "why": _why(stage, view)}
        for stage in view.state.stages.values()
    ]


def _why(stage: StageState, view: RunView) -> list[str]:
    lines = list(stage.reasons)
    if stage.driver:
        lines.append(f"proposed by {stage.driver}")
    reuse = view.reused.get(stage.address)
    if stage.status is StageStatus.REUSED:
        if stage.note:
            lines.append(stage.note)
        if reuse is not None:
            took = f", which took {duration(reuse.seconds)}" if reuse.seconds is not None else ""
            lines.append(f"made by {reuse.stage} of run {reuse.run}{took}")
    elif stage.note and stage.failure is None:
        lines.append(stage.note)
    if stage.failure is not None:
        lines.append(stage.failure.cause)
    return lines


def _setting_groups(view: RunView) -> list[dict[str, Any]]:
    """A group a stage; cells of a matrix are one, with every value that they do not share."""
    cells: dict[str, list[str]] = {}
    # In the order of the run; a record is sorted by name.
    order = [address for address in view.state.stages if address in view.record.settings]
    for address in dict.fromkeys([*order, *view.record.settings]):
        cells.setdefault(base_name(address), []).append(address)
    groups = []
    for name, addresses in cells.items():
        paths = dict.fromkeys(path for a in addresses for path in view.record.settings[a])
        rows = [row for path in paths for row in _setting_rows(view, path, addresses)]
        num_default = sum(row["is_default"] for row in rows)
        groups.append(
            {
                "name": name,
                "num_cells": len(addresses),
                "num_set": len(rows) - num_default,
                "num_default": num_default,
                # What was set comes first: it is what a reader looks for.
                "rows": sorted(rows, key=lambda row: bool(row["is_default"])),
            }
        )
    return groups


def _setting_rows(view: RunView, path: str, addresses: Sequence[str]) -> Iterable[dict[str, Any]]:
    values: dict[tuple[str, str], list[str]] = {}
    for address in addresses:
        value = view.record.settings[address].get(path)
        if value is not None:
            values.setdefault(value, []).append(address.removeprefix(base_name(address)))
    for (text, origin), cells in values.items():
        where = "" if len(cells) == len(addresses) else f" {', '.join(cells)}"
        layer, _, place = origin.rpartition(" ")
        # The folder says nothing new in each of a hundred lines.
        short = f"{layer} {Path(place).name}" if layer and ":" in place else origin
        yield {
            "path": f"{path}{where}",
            "text": text,
            "origin": short,
            "is_default": origin == "default",
        }


def _artifact(one: Artifact) -> dict[str, Any]:
    manifest = one.manifest
    row: dict[str, Any] = {"place": f"{one.stage}.{one.port}", "digest": one.digest}
    if manifest is None:
        return {**row, "about": "not in the store any more", "files": [], "num_left_out": 0}
    files = sorted(manifest.files.items(), key=lambda item: -item[1].size)
    count = len(files)
    about = f"{manifest.port}, {count} file{'' if count == 1 else 's'}, {size(manifest.num_bytes)}"
    left_out = max(0, count - _MAX_FILES)
    return {**row, "about": about, "files": files[:_MAX_FILES], "num_left_out": left_out}


def _environment(view: RunView) -> dict[str, Any]:
    record, machine = view.record, view.record.machine
    facts = [
        ("run", record.run),
        ("DAG file", record.request.file),
        ("profile", record.request.profile or ""),
        ("values", ", ".join(path for path, _ in record.request.values)),
        ("set", ", ".join(record.request.sets)),
        ("store", record.store),
        ("started", moment(record.started)),
        ("host", machine.host),
        ("system", machine.system),
        ("processor", f"{machine.cpu}, {machine.cpus} logical"),
        ("memory", size(machine.memory_bytes)),
        ("GPUs", ", ".join(machine.gpus) or "none"),
        ("Python", machine.python),
    ]
    for checkout in record.code:
        dirty = f" with uncommitted changes {checkout.dirty[:12]}" if checkout.dirty else ""
        facts.append(("code", f"{checkout.folder} at {checkout.commit}{dirty}"))
    packages = record.packages
    return {
        "facts": [(name, value) for name, value in facts if value],
        "main_packages": [(name, packages[name]) for name in _MAIN_PACKAGES if name in packages],
    }
