"""The whole page: one file that opens from disk and asks the network for nothing."""

import base64
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources

from markupsafe import Markup

from pipeline.report.curves import MAX_CURVES, Curve, curves_of, non_finite, pack
from pipeline.report.gather import RunReader
from pipeline.report.notes import Note
from pipeline.report.pictures import Gallery
from pipeline.report.sections import Part, parts_of, templates, text_digest
from pipeline.runner.state import RunStatus

_MAX_NOTES = 200
_ASSETS = resources.files("pipeline.report") / "assets"


@dataclass(frozen=True)
class Page:
    """The content of the page at a moment; `curves` is what `curves.pack` made."""

    parts: Sequence[Part]
    curves: str
    html: str
    is_running: bool


class Report:
    """Makes the page of a run, again and again while it goes on."""

    def __init__(self, readers: Sequence[RunReader]) -> None:
        """The first run is the one the report is about; curves of the others lie over its own."""
        self._readers = readers
        self._gallery = Gallery()

    def page(self, *, is_live: bool = False) -> Page:
        """The page now.

        Args:
            is_live: it is served, and asks its server for what is new.

        Raises:
            StoreError: the store failed.
        """
        views = [reader.read() for reader in self._readers]
        view = views[0]
        albums, picture_notes = self._gallery.albums(view.state)
        curves = curves_of(views)
        notes = [*view.notes, *_not_finite(curves), *picture_notes]
        if len(curves) > MAX_CURVES:
            text = f"{len(curves) - MAX_CURVES} of {len(curves)} curves are left out"
            notes.append(Note("warning", "run", text))
            curves = curves[:MAX_CURVES]
        if len(notes) > _MAX_NOTES:
            more = Note("warning", "run", f"{len(notes) - _MAX_NOTES} more lines are left out")
            notes = [*notes[:_MAX_NOTES], more]
        parts = parts_of(views, albums, notes)
        packed = pack(curves, [one.state.run for one in views])
        html = (
            templates()
            .get_template("page.html.j2")
            .render(
                view=view,
                parts=parts,
                curves=packed,
                curves_digest=text_digest(packed),
                is_live=is_live,
                policy=_policy(is_live=is_live),
                styles=_inline("uPlot.min.css") + _inline("report.css"),
                library=_library(),
                script=_inline("report.js"),
                written=time.time(),
                version=metadata.version("pretraining-pipeline"),
            )
        )
        return Page(parts, packed, html, view.state.status is RunStatus.RUNNING)


def _not_finite(curves: Sequence[Curve]) -> list[Note]:
    notes = []
    for curve in curves:
        count, step = non_finite(curve) if curve.run == 0 else (0, 0)
        if count:
            name = f"{curve.chart} {curve.label}".strip()
            what = "value is" if count == 1 else "values are"
            text = f"{name}: {count} {what} not finite, first at step {step}"
            notes.append(Note("warning", curve.stage, text))
    return notes


@cache
def _inline(name: str) -> Markup:
    text = (_ASSETS / name).read_text(encoding="utf-8")
    return Markup(text)


@cache
def _library() -> Markup:
    """The chart library with its licence, as that asks."""
    return (
        Markup("/*!\n") + _inline("uPlot.LICENSE") + Markup("*/\n") + _inline("uPlot.iife.min.js")
    )


def _policy(*, is_live: bool) -> str:
    """No script but the two of the page, nothing from elsewhere: what a run says is never code."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in (_library(), _inline("report.js"))
    )
    connect = "'self'" if is_live else "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        f"media-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
