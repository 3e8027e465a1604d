"""Decides for each document of a unit whether it is kept, in which split, and with which label."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data_prep.config import TextConfig
from data_prep.corpus import Unit, read_spans
from data_prep.documents import Document
from data_prep.labels import labelling_of, share
from data_prep.streams import Span
from pipeline.errors import DataError

logger = logging.getLogger(__name__)


class Placed(NamedTuple):
    """A normalised document or piece of one, and where it goes.

    `label` is the number of its class, 0 without classes; `ends` as in Document.
    """

    text: str
    split: str
    label: int
    ends: bool


class _Decision(NamedTuple):
    split: str
    label: int


class Placing:
    """Places the documents of one unit and counts those it leaves out."""

    def __init__(self, config: TextConfig, unit: Unit, names: tuple[str, ...] | None) -> None:
        self._config = config
        self._unit = unit
        self._classes = None if names is None else {name: i for i, name in enumerate(names)}
        self._left_out: Counter[str] = Counter()
        self._num_placed = 0

    @property
    def num_placed(self) -> int:
        """Documents placed so far."""
        return self._num_placed

    def place(self, normalise: Callable[[str], str]) -> Iterator[Placed]:
        """The kept documents of the unit in their order; logs once what was left out, and why.

        Raises:
            DataError: a document is bad, or its label is not among the configured classes.
        """
        decision: _Decision | None = None
        begins = True
        spans = read_spans(self._config, self._unit.spans, labelling_of(self._config))
        for span, document in spans:
            if begins:
                decision = self._decide(span, document)
            whole = begins and document.ends
            begins = document.ends
            if decision is None:
                continue
            text = normalise(document.text)
            if whole and not text and self._classes is None:
                self._left_out["without text"] += 1
                continue
            self._num_placed += document.ends
            yield Placed(text, decision.split, decision.label, document.ends)
        for why, count in self._left_out.items():
            first = self._unit.spans[0].file.path
            logger.warning("left out %d documents %s, from %s on", count, why, first)

    def _decide(self, span: Span, document: Document) -> _Decision | None:
        """Where a document goes by its beginning; None leaves it out."""
        label = 0
        if self._classes is not None:
            found = self._classes.get(document.label or "")
            if found is None and self._config.max_classes is not None:
                self._left_out["of the rarer classes"] += 1
                return None
            if found is None:
                msg = (
                    f"{span.file.path}: label {document.label!r} is none of the classes "
                    f"{', '.join(self._classes)}"
                )
                raise DataError(msg)
            label = found
        split = self._unit.split
        if split == "train":
            fraction = self._config.validation_fraction
            if fraction and share(document.text, "validation") < fraction:
                split = "validation"
            elif self._config.label_fraction < 1 and (
                share(document.text, "label") >= self._config.label_fraction
            ):
                self._left_out["by label_fraction"] += 1
                return None
        return _Decision(split, label)
