"""Token shards: what is written is read, and damage is named."""

import errno
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards import TokenShards, TokenShardWriter, peek, verify
from tests.mounts import FULL_DISK_BYTES, small_disk
from tests.shards import OTHER_TOKENIZER, TOKENIZER


def _write(folder: Path, documents: list[list[int]], vocab_size: int = 100) -> None:
    with TokenShardWriter(folder, vocab_size=vocab_size, tokenizer=TOKENIZER) as writer:
        for document in documents:
            writer.add("train", document)


def test_document_is_read_as_written(tmp_path: Path) -> None:
    _write(tmp_path, [[1, 2, 3], [], [4, 5]])
    shards = TokenShards(tmp_path)
    assert [shards.document(i).tolist() for i in range(3)] == [[1, 2, 3], [], [4, 5]]
    assert shards.document_ends.tolist() == [3, 3, 5]
    assert (shards.num_documents, shards.num_tokens) == (3, 5)


def test_sentence_ends_include_the_end_of_each_document(tmp_path: Path) -> None:
    with TokenShardWriter(tmp_path, vocab_size=100, tokenizer=TOKENIZER) as writer:
        writer.add("train", [1, 2, 3, 4], sentence_ends=[2])
        writer.add("train", [5, 6], sentence_ends=[2])
    assert TokenShards(tmp_path).sentence_ends.tolist() == [2, 4, 6]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65536, np.uint16), (65537, np.int32)])
def test_ids_take_two_bytes_where_the_vocabulary_allows(
    tmp_path: Path, vocab_size: int, dtype: type
) -> None:
    _write(tmp_path, [[vocab_size - 1]], vocab_size)
    tokens = TokenShards(tmp_path).tokens(0, 1)
    assert tokens.dtype == dtype
    assert tokens.tolist() == [vocab_size - 1]


def test_labels_and_class_names_are_read_as_written(tmp_path: Path) -> None:
    with TokenShardWriter(
        tmp_path, vocab_size=10, tokenizer=TOKENIZER, class_names=["neg", "pos"]
    ) as writer:
        writer.add("test", [1], label=1)
        writer.add("test", [2, 3], label=0)
    shards = TokenShards(tmp_path, "test")
    assert shards.labels.tolist() == [1, 0]
    assert shards.class_names == ("neg", "pos")
    assert shards.sample_schema == "classified"
    assert shards.splits == ("test",)


def test_tokens_inside_a_member_are_not_copied(tmp_path: Path) -> None:
    _write(tmp_path, [[1, 2, 3, 4]])
    shards = TokenShards(tmp_path)
    assert np.shares_memory(shards.tokens(1, 3), shards.tokens(0, 4))
    assert not shards.tokens(0, 4).flags.writeable


def test_units_are_joined_in_their_order(tmp_path: Path) -> None:
    for unit in (1, 0):
        with TokenShardWriter(
            tmp_path, vocab_size=100, tokenizer=TOKENIZER, unit=unit, num_units=2
        ) as writer:
            writer.add("train", [10 * unit, 10 * unit + 1])
    shards = TokenShards(tmp_path)
    assert shards.tokens(0, 4).tolist() == [0, 1, 10, 11]
    assert shards.tokens(1, 3).tolist() == [1, 10]
    assert shards.rows(np.array([2, 1, 0]), 2).tolist() == [[10, 11], [1, 10], [0, 1]]


def test_shard_that_lost_its_tail_is_named_with_the_offset(tmp_path: Path) -> None:
    _write(tmp_path, [[1, 2, 3]])
    path = tmp_path / "train-00000.tar"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train-00000\.tar: truncated: ends at offset 1000"):
        TokenShards(tmp_path)


def test_verify_names_the_member_that_changed(tmp_path: Path) -> None:
    _write(tmp_path, [[1, 2, 3]])
    path = tmp_path / "train-00000.tar"
    with tarfile.open(path) as tar:
        offset = tar.getmember("00000-000000.ids.npy").offset_data
    data = bytearray(path.read_bytes())
    data[offset + 130] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"train-00000\.tar: offset {offset}: .*ids\.npy"):
        verify(tmp_path)


def test_missing_unit_is_named(tmp_path: Path) -> None:
    with TokenShardWriter(
        tmp_path, vocab_size=9, tokenizer=TOKENIZER, unit=1, num_units=2
    ) as writer:
        writer.add("train", [1])
    with pytest.raises(DataError, match=r"index-00000\.json is missing"):
        TokenShards(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("file", "../train-00000.tar", "should match pattern"),
        ("offset", 10**9, "ends after the"),
        ("count", 10**9, "do not fit"),
        ("dtype", "object", "Input should be"),
        ("format", 2, "Input should be 1"),
        ("unit", 7, "says it is the index of unit 7"),
        ("count", 2, "is out of order or range"),
        ("dtype", "int32", "elements are int32, not uint16"),
    ],
)
def test_hostile_index_is_refused(tmp_path: Path, field: str, value: object, message: str) -> None:
    _write(tmp_path, [[1, 2, 3]])
    path = tmp_path / "index-00000.json"
    index = json.loads(path.read_text())
    ids = index["shards"][0]["samples"][0]["members"]["ids.npy"]
    if field == "dtype":
        ids["count"] = 1
    for part in (ids, index["shards"][0], index):
        if field in part:
            part[field] = value
            break
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=message):
        verify(tmp_path)


def test_units_of_different_vocabularies_do_not_belong_together(tmp_path: Path) -> None:
    for unit, vocab_size in ((0, 10), (1, 20)):
        with TokenShardWriter(
            tmp_path, vocab_size=vocab_size, tokenizer=TOKENIZER, unit=unit, num_units=2
        ) as writer:
            writer.add("train", [1])
    with pytest.raises(DataError, match=r"index-00001\.json: vocab_size is 20, but 10"):
        TokenShards(tmp_path)


def test_units_of_different_tokenizers_do_not_belong_together(tmp_path: Path) -> None:
    for unit, made_with in ((0, TOKENIZER), (1, OTHER_TOKENIZER)):
        with TokenShardWriter(
            tmp_path, vocab_size=9, tokenizer=made_with, unit=unit, num_units=2
        ) as writer:
            writer.add("train", [1])
    with pytest.raises(DataError, match=r"index-00001\.json: tokenizer is 'b2b2"):
        TokenShards(tmp_path)


def test_unknown_split_says_which_there_are(tmp_path: Path) -> None:
    _write(tmp_path, [[1]])
    with pytest.raises(DataError, match=r"no split 'test'; it has train"):
        TokenShards(tmp_path, "test")


def test_missing_shard_is_named(tmp_path: Path) -> None:
    _write(tmp_path, [[1]])
    (tmp_path / "train-00000.tar").unlink()
    with pytest.raises(DataError, match=r"train-00000\.tar: the index names this shard"):
        verify(tmp_path)


def test_folder_without_index_is_no_shards(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no index-\*\.json"):
        TokenShards(tmp_path)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 4), (2, 1)])
def test_tokens_outside_the_row_are_refused(tmp_path: Path, start: int, stop: int) -> None:
    _write(tmp_path, [[1, 2, 3]])
    with pytest.raises(IndexError):
        TokenShards(tmp_path).tokens(start, stop)


@pytest.mark.parametrize("start", [-1, 2, 3, 9])
def test_rows_outside_the_row_are_refused(tmp_path: Path, start: int) -> None:
    _write(tmp_path, [[1, 2, 3]])
    with pytest.raises(IndexError, match=rf"tokens {start}\.\.{start + 2} of 3"):
        TokenShards(tmp_path).rows(np.array([0, start]), 2)


def test_peek_shows_the_first_documents_of_each_split(tmp_path: Path) -> None:
    with TokenShardWriter(
        tmp_path, vocab_size=99, tokenizer=TOKENIZER, class_names=["neg", "pos"]
    ) as writer:
        for i in range(5):
            writer.add("train", range(i + 1), label=i % 2)
        writer.add("test", [7], label=1)
    shown = peek(tmp_path, 2, num_tokens=1)
    assert [(s.split, s.number, s.label, s.num_tokens, s.ids) for s in shown] == [
        ("test", 0, "pos", 1, (7,)),
        ("train", 0, "neg", 1, (0,)),
        ("train", 1, "pos", 2, (0,)),
    ]


def test_tar_has_nothing_of_the_machine_in_it(tmp_path: Path) -> None:
    _write(tmp_path, [[1, 2, 3]])
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")


def test_writer_leaves_nothing_behind_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside"):
        _write(tmp_path, [[8], [9]], vocab_size=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [1, 2])  # full while it writes, and full when it closes
def test_full_disk_leaves_no_half_shard(tmp_path: Path, share: int) -> None:
    with small_disk(tmp_path / "disk") as folder:
        document = list(range(200)) * (FULL_DISK_BYTES // 200 // share)
        with pytest.raises(OSError, match="No space left") as caught:
            _write(folder, [document, document], vocab_size=200)
        assert caught.value.errno == errno.ENOSPC
        assert list(folder.iterdir()) == []
