"""Documents as inputs: windows that cover them, padding on the left."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards import TokenShards, TokenShardWriter
from stages.xlnet.config import ClassifyConfig
from stages.xlnet.documents import Documents
from tests.shards import TOKENIZER
from tests.xlnet.configs import classify_config
from tests.xlnet.corpus import CLS, PAD, SEP, vocabulary

LENGTHS = (0, 5, 30, 31, 100)


@pytest.fixture
def shards(tmp_path: Path) -> TokenShards:
    rng = np.random.default_rng(0)
    with TokenShardWriter(
        tmp_path, vocab_size=60, tokenizer=TOKENIZER, class_names=("a", "b")
    ) as writer:
        for number, length in enumerate(LENGTHS):
            writer.add("train", rng.integers(9, 60, length), label=number % 2)
    return TokenShards(tmp_path)


def _documents(shards: TokenShards, config: ClassifyConfig | None = None) -> Documents:
    return Documents(shards, vocabulary(), config or classify_config())


def test_windows_cover_every_token_of_a_document(shards: TokenShards) -> None:
    documents = _documents(shards)
    assert documents.num_windows.tolist() == [1, 1, 1, 2, 4]
    for number, length in enumerate(LENGTHS):
        seen = np.zeros(length, bool)
        for place in range(int(documents.num_windows[number])):
            window = documents.window(number, place)
            assert len(window) == min(length, 30)
            starts = [
                start
                for start in range(length - len(window) + 1)
                if (shards.document(number)[start : start + len(window)] == window).all()
            ]
            assert len(starts) == 1  # random tokens: nothing repeats
            seen[starts[0] : starts[0] + len(window)] = True
        assert seen.all()


def test_head_keeps_the_beginning_and_says_how_many_are_cut(
    shards: TokenShards, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        documents = _documents(shards, classify_config(long_documents="head"))
    assert documents.num_windows.tolist() == [1] * 5
    np.testing.assert_array_equal(documents.window(4, 0), shards.document(4)[:30])
    assert "2 of 5 documents are longer than 30 tokens: only the beginning" in caplog.text


def test_inputs_are_padded_on_the_left_and_end_with_sep_cls(shards: TokenShards) -> None:
    documents = _documents(shards)
    batch = documents.inputs([documents.window(0, 0), documents.window(1, 0)])
    tokens = batch["tokens"]
    assert tokens.shape == (2, 8)
    assert tokens[:, -2:].tolist() == [[SEP, CLS]] * 2
    assert tokens[0, :-2].tolist() == [PAD] * 6
    assert tokens[1].tolist() == [PAD, *shards.document(1).tolist(), SEP, CLS]
    assert batch["segments"][1].tolist() == [4, 0, 0, 0, 0, 0, 0, 2]
    assert batch["column_keys"][1].tolist() == [1, -1, -1, -1, -1, -1, -1, -1]


def test_empty_split_is_refused(tmp_path: Path) -> None:
    with TokenShardWriter(
        tmp_path, vocab_size=60, tokenizer=TOKENIZER, class_names=("a", "b")
    ) as writer:
        writer.add("train", [9], label=0)
        writer.add_packed(
            "test",
            np.empty(0, np.int64),
            document_ends=np.empty(0, np.int64),
            sentence_ends=np.empty(0, np.int64),
            labels=np.empty(0, np.int32),
        )
    shards = TokenShards(tmp_path)
    if "test" not in shards.splits:
        pytest.skip("the writer leaves an empty split out")
    with pytest.raises(DataError, match="split 'test' has no documents"):
        _documents(TokenShards(tmp_path, "test"))
