"""Documents in plain text files: a file each, or several between blank lines."""

import re
import sys
from collections.abc import Iterator

from data_prep.documents import CHUNK_CHARACTERS, Document
from data_prep.streams import BOM, Span, decode, open_span
from pipeline.storage.sources import SourceFile

_GAP = re.compile(rb"\n\s*\n")


def read_file(span: Span, label: str | None) -> Iterator[Document]:
    """The file as one document.

    Raises:
        DataError: bytes that are not UTF-8, damaged compression.
    """
    path = span.file.path
    with open_span(span) as stream:
        offset = 0
        data = stream.read(CHUNK_CHARACTERS)
        if data.startswith(BOM):
            offset, data = len(BOM), data[len(BOM) :]
        while following := stream.read(CHUNK_CHARACTERS):
            cut = _cut_place(data)
            if cut:
                yield Document(decode(data[:cut], path, offset), label, ends=False)
            offset += cut
            data = data[cut:] + following
        yield Document(decode(data, path, offset), label)


def read_small_file(file: SourceFile, label: str | None) -> Document:
    """A local, uncompressed file within one chunk: for corpora of very many small files.

    Raises:
        DataError: bytes that are not UTF-8.
    """
    # As bare as can be: of a file of a kilobyte the opening is most of the cost.
    with open(file.path, "rb", buffering=0) as stream:  # noqa: PTH123 - see above
        data = stream.read()
    if data.startswith(BOM):
        return Document(decode(data[len(BOM) :], file.path, len(BOM)), label)
    return Document(decode(data, file.path, 0), label)


def read_blank_line_separated(span: Span, label: str | None) -> Iterator[Document]:
    """Documents that one or more lines without a visible character keep apart.

    Raises:
        DataError: bytes that are not UTF-8, damaged compression.
    """
    path = span.file.path
    left = sys.maxsize if span.stop is None else span.stop - span.start
    # `data` begins at `offset`: with a document, or within the one that is `open`.
    data, offset, is_open = b"", span.start, False
    with open_span(span) as stream:
        while block := stream.read(min(CHUNK_CHARACTERS, left)):
            left -= len(block)
            data += block
            if offset == 0 and data.startswith(BOM):
                offset, data = len(BOM), data[len(BOM) :]
            begun = 0
            for gap in _GAP.finditer(data):
                if gap.end() == len(data):
                    break  # the gap may go on in the next block
                text = data[begun : gap.start()].rstrip()
                if text or is_open:
                    yield Document(decode(text, path, offset + begun), label)
                begun, is_open = gap.end(), False
            offset, data = offset + begun, data[begun:]
            while len(data) > CHUNK_CHARACTERS:
                cut = _cut_place(data[:CHUNK_CHARACTERS])
                yield Document(decode(data[:cut], path, offset), label, ends=False)
                offset, data, is_open = offset + cut, data[cut:], True
    text = data.rstrip()
    if text or is_open:
        yield Document(decode(text, path, offset), label)


def _cut_place(data: bytes) -> int:
    """Where to cut a block: after its last white space, or at least between UTF-8 sequences."""
    cut = max(data.rfind(b"\n"), data.rfind(b" ")) + 1
    if cut > 0:
        return cut
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a sequence of 2, 3 or 4
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if length > back else len(data)
        if byte < 0x80:
            break
    return len(data)
