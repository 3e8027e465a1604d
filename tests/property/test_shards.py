"""Laws of the shard format, for any documents."""

import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.shards import TokenShards, TokenShardWriter, verify, writer
from tests.shards import TOKENIZER

VOCAB_SIZE = 300
Documents = list[tuple[list[int], set[int]]]

documents_strategy = st.lists(
    st.tuples(
        st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=12),
        st.sets(st.integers(1, 12), max_size=3),
    ),
    min_size=1,
    max_size=12,
)


@contextmanager
def _small_members(num_tokens: int) -> Iterator[None]:
    """Members of a few tokens, so that documents lie across them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "MEMBER_TOKENS", num_tokens)
        yield


def _ends(document: tuple[list[int], set[int]]) -> list[int]:
    return sorted(end for end in document[1] if end <= len(document[0]))


def _write(folder: Path, documents: Documents, *, num_units: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    for unit in range(num_units):
        with TokenShardWriter(
            folder, vocab_size=VOCAB_SIZE, tokenizer=TOKENIZER, unit=unit, num_units=num_units
        ) as output:
            for document in documents[unit::num_units]:
                output.add("train", document[0], sentence_ends=_ends(document))


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@given(documents_strategy, st.integers(1, 9), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_what_was_written_is_read(documents: Documents, member: int, num_units: int) -> None:
    num_units = min(num_units, len(documents))
    with tempfile.TemporaryDirectory() as name, _small_members(member):
        folder = Path(name)
        _write(folder, documents, num_units=num_units)
        verify(folder)
        shards = TokenShards(folder)
        ordered = [doc for unit in range(num_units) for doc in documents[unit::num_units]]
        row = [token for ids, _ in ordered for token in ids]
        assert [shards.document(i).tolist() for i in range(shards.num_documents)] == [
            ids for ids, _ in ordered
        ]
        starts = itertools.accumulate([0, *(len(ids) for ids, _ in ordered)])
        sentence_ends = {
            start + end
            for start, document in zip(starts, ordered, strict=False)
            for end in [*_ends(document), len(document[0])]
        }
        assert shards.sentence_ends.tolist() == sorted(sentence_ends - {0})
        for start in range(len(row) + 1):
            assert shards.tokens(start, len(row)).tolist() == row[start:]
            assert shards.tokens(0, start).tolist() == row[:start]


@given(documents_strategy, st.integers(1, 9), st.integers(1, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_rows_are_slices(
    documents: Documents, member: int, length: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name, _small_members(member):
        _write(Path(name), documents)
        shards = TokenShards(Path(name))
        if shards.num_tokens < length:
            return
        last = shards.num_tokens - length
        starts = data.draw(st.lists(st.integers(0, last), max_size=8))
        rows = shards.rows(np.array(starts, np.int64), length)
        assert rows.shape == (len(starts), length)
        assert rows.tolist() == [shards.tokens(s, s + length).tolist() for s in starts]


@given(documents_strategy, st.integers(1, 9), st.data())
@settings(max_examples=40, deadline=None)
def test_bytes_do_not_depend_on_how_documents_are_grouped(
    documents: Documents, member: int, data: st.DataObject
) -> None:
    ids = np.array([token for doc, _ in documents for token in doc], np.int32)
    ends = np.cumsum([len(doc) for doc, _ in documents])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(ids)), max_size=4)) | {0, len(ids)})
    with tempfile.TemporaryDirectory() as name, _small_members(member):
        folder = Path(name)
        _write(folder / "one", [(doc, set()) for doc, _ in documents])
        (folder / "cut").mkdir()
        with TokenShardWriter(folder / "cut", vocab_size=VOCAB_SIZE, tokenizer=TOKENIZER) as output:
            for start, stop in itertools.pairwise(cuts or [0]):
                # An end at a cut may come with the tokens before it or with those after it.
                inside = (ends > start) & (ends <= stop) if start else ends <= stop
                output.add_packed(
                    "train",
                    ids[start:stop],
                    document_ends=ends[inside] - start,
                    sentence_ends=np.empty(0, np.int64),
                )
            if len(cuts) < 2:
                output.add_packed(
                    "train", ids, document_ends=ends, sentence_ends=np.empty(0, np.int64)
                )
        assert _digests(folder / "one") == _digests(folder / "cut")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it open
@given(documents_strategy)
@settings(max_examples=5, deadline=None)
def test_webdataset_reads_the_same_ids(documents: Documents) -> None:
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), documents)
        samples = webdataset.WebDataset(
            f"file:{name}/train-00000.tar", shardshuffle=False, empty_check=False
        )
        found = [
            (sample["__key__"], *(np.load(io.BytesIO(sample[part])) for part in
             ("ids.npy", "document_ends.npy", "sentence_ends.npy")))
            for sample in samples
        ]  # fmt: skip
        ((key, ids, document_ends, sentence_ends),) = found
        shards = TokenShards(Path(name))
        assert key == "00000-000000"
        assert ids.tolist() == shards.tokens(0, shards.num_tokens).tolist()
        assert document_ends.tolist() == shards.document_ends.tolist()
        assert sentence_ends.tolist() == shards.sentence_ends.tolist()


@given(documents_strategy, st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_noticed(documents: Documents, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), documents)
        path = Path(name) / "train-00000.tar"
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train-00000\.tar"):
            verify(Path(name))


@given(documents_strategy, st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_index_is_refused_or_reads_the_same(
    documents: Documents, data: st.DataObject
) -> None:
    """A changed index never makes the reader crash or read outside a shard."""
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), documents)
        path = Path(name) / "index-00000.json"
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            verify(Path(name))
        except DataError as exc:
            assert name in str(exc)  # noqa: PT017 - it may also pass
