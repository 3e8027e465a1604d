"""Documents in plain text files: a file each, or several between blank lines."""

from collections.abc import Iterator
from typing import IO

from data_prep.documents import CHUNK_CHARACTERS, Document
from data_prep.streams import Span, decode, open_span

_BOM = b"\xef\xbb\xbf"


def read_file(span: Span, label: str | None) -> Iterator[Document]:
    """The file as one document.

    Raises:
        DataError: bytes that are not UTF-8, damaged compression.
    """
    with open_span(span) as stream:
        offset = 0
        data = stream.read(CHUNK_CHARACTERS)
        while True:
            following = stream.read(CHUNK_CHARACTERS) if len(data) >= CHUNK_CHARACTERS else b""
            if not following:
                yield Document(decode(_without_bom(data, offset), span.file.path, offset), label)
                return
            cut = _last_space(data)
            piece = _without_bom(data[:cut], offset)
            yield Document(decode(piece, span.file.path, offset), label, ends=False)
            offset += cut
            data = data[cut:] + following


def read_blank_line_separated(span: Span, label: str | None) -> Iterator[Document]:
    """Documents that one or more lines without a visible character keep apart.

    Raises:
        DataError: bytes that are not UTF-8, damaged compression.
    """
    path = span.file.path
    lines: list[bytes] = []
    begun = size = 0
    open_document = False
    for offset, line in read_lines(span):
        if not lines:
            begun = offset
        if line.isspace():
            if lines or open_document:
                yield Document(decode(b"".join(lines), path, begun), label)
            lines, size, open_document = [], 0, False
            continue
        lines.append(line)
        size += len(line)
        if size >= CHUNK_CHARACTERS and line.endswith(b"\n"):
            yield Document(decode(b"".join(lines), path, begun), label, ends=False)
            lines, size, open_document = [], 0, True
    if lines or open_document:
        yield Document(decode(b"".join(lines), path, begun), label)


def read_lines(span: Span) -> Iterator[tuple[int, bytes]]:
    """(offset, line with its end) of a span; a line over a chunk comes in several parts.

    A byte order mark at the very beginning is left out. Parts of a long line do not end in a line
    feed and are cut between UTF-8 sequences.
    """
    with open_span(span) as stream:
        offset = span.start
        end = span.stop
        while end is None or offset < end:
            line = _read_part(stream)
            if not line:
                return
            visible = _without_bom(line, offset)
            yield offset + len(line) - len(visible), visible
            offset += len(line)


def _read_part(stream: IO[bytes]) -> bytes:
    part = stream.readline(CHUNK_CHARACTERS)
    # Up to three bytes complete a sequence that the limit cut.
    while len(part) >= CHUNK_CHARACTERS and _is_cut_sequence(part):
        more = stream.read(1)
        if not more:
            break
        part += more
    return part


def _is_cut_sequence(data: bytes) -> bool:
    """Whether the last UTF-8 sequence of `data` lacks bytes."""
    for back in range(1, 4):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return length > back
        if byte < 0x80:
            return False
    return False


def _last_space(data: bytes) -> int:
    """Where to cut a block: after its last white space, or at least between UTF-8 sequences."""
    cut = max(data.rfind(b"\n"), data.rfind(b" ")) + 1
    if cut > 0:
        return cut
    cut = len(data)
    while cut > len(data) - 4 and data[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if data[cut - 1] >= 0xC0 else len(data)


def _without_bom(data: bytes, offset: int) -> bytes:
    return data.removeprefix(_BOM) if offset == 0 else data
