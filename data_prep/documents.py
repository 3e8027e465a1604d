"""What every source yields: documents, long ones in pieces so that memory stays bounded."""

import re
from collections.abc import Iterator
from typing import NamedTuple

CHUNK_CHARACTERS = 1 << 20
"""A longer document is handed on in pieces; also the most a batch of documents holds."""

MAX_RECORD_BYTES = 1 << 24
"""A longer line of JSONL or CSV is refused: it is hardly a record, and would fill the memory."""

_SPACE = re.compile(r"\s")


class Document(NamedTuple):  # a frozen dataclass takes three times as long to make
    """A document or a piece of one.

    Attributes:
        text: as in the source, not normalised.
        label: its class where the source has one.
        ends: False when the next Document goes on with this one.
    """

    text: str
    label: str | None = None
    ends: bool = True


def in_pieces(text: str, label: str | None) -> Iterator[Document]:
    """A document as one Document, or as several that are cut at white space where there is any."""
    start = 0
    while len(text) - start > CHUNK_CHARACTERS:
        stop = start + CHUNK_CHARACTERS
        cut = stop
        # Looks back a little only: text without any space (Chinese, base64) is cut hard.
        spaces = [m.start() for m in _SPACE.finditer(text, stop - 1024, stop)]
        if spaces:
            cut = spaces[-1] + 1
        yield Document(text[start:cut], label, ends=False)
        start = cut
    yield Document(text[start:] if start else text, label)
