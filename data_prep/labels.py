"""Class names of labelled documents, and which documents a split or a share of labels gets."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from data_prep.config import TextConfig
from data_prep.corpus import Labelling, Unit, file_format, folder_label, read_spans
from pipeline.errors import DataError

logger = logging.getLogger(__name__)

_BEGINNING = 1 << 16  # characters; of a longer document the first piece may hold no more


def labelling_of(config: TextConfig) -> Labelling:
    """Where this configuration takes labels from."""
    return Labelling(
        from_folder=config.label == "folder",
        column=config.label_column if config.label == "column" else None,
    )


def class_names(config: TextConfig, units: Sequence[Unit]) -> tuple[str, ...] | None:
    """The classes of a labelled configuration in the order of their numbers; None without labels.

    Unless they are configured or folders name them, this reads all documents once, and every
    worker does so: the numbers must be the same in all shards.

    Raises:
        DataError: there are fewer than two classes, or a document is bad.
    """
    if config.label == "none":
        return None
    if config.classes is not None:
        return config.classes
    counts = _count_labels(config, units)
    if len(counts) < 2:
        first = units[0].spans[0].file.path
        names = ", ".join(counts) or "none"
        msg = f"{first} and what follows: labels tell at least two classes apart; here: {names}"
        raise DataError(msg)
    if config.max_classes is None or len(counts) <= config.max_classes:
        return tuple(sorted(counts))
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    dropped = sum(counts[name] for name in ranked[config.max_classes :])
    logger.warning(
        "max_classes %d of %d: leaves out %d of %d documents",
        config.max_classes,
        len(counts),
        dropped,
        counts.total(),
    )
    return tuple(sorted(ranked[: config.max_classes]))


def share(text: str, purpose: Literal["validation", "label"]) -> float:
    """A number in [0, 1) that depends on a document's beginning and the purpose alone.

    Equal documents always fall on the same side of a split.
    """
    digest = hashlib.blake2b(text[:_BEGINNING].encode(), digest_size=8, person=purpose.encode())
    return int.from_bytes(digest.digest(), "big") / (1 << 64)


def _count_labels(config: TextConfig, units: Sequence[Unit]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for unit in units:
        by_folder = config.label == "folder" and not any(
            file_format(config, span.file) == "stdlib" for span in unit.spans
        )
        if by_folder and config.max_classes is None:
            counts.update(folder_label(span.file) for span in unit.spans)
        else:
            documents = (
                document for _, document in read_spans(config, unit.spans, labelling_of(config))
            )
            counts.update(d.label for d in documents if d.ends and d.label is not None)
    return counts
