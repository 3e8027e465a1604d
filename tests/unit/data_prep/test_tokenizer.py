"""Training a tokenizer: the same bytes every time, and clear refusals."""

from pathlib import Path

import pytest

from data_prep import tokenizer
from data_prep.config import TokenizerConfig
from data_prep.tokenizer import sample_sentences
from pipeline.errors import ConfigError, DataError
from pipeline.shards.tokenizer import DESCRIPTION_FILE, MODEL_FILE
from tests.contexts import stage_context


def test_training_twice_gives_the_same_bytes(tmp_path: Path, corpus: Path, trained: Path) -> None:
    config = TokenizerConfig(vocab_size=200, source=str(corpus))
    tokenizer.run(stage_context(config, tmp_path, output="tokenizer"))
    again = tmp_path / "tokenizer"
    for name in (MODEL_FILE, DESCRIPTION_FILE):
        assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_vocabulary_larger_than_the_corpus_holds_says_how_many(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a few words, a few more words")
    config = TokenizerConfig(vocab_size=5000, source=str(tmp_path / "a.txt"))
    with pytest.raises(ConfigError, match=r"vocab_size 5000 .* value <= \d+"):
        tokenizer.run(stage_context(config, tmp_path, output="tokenizer"))
    assert list((tmp_path / "tokenizer").iterdir()) == []


def test_corpus_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    config = TokenizerConfig(source=str(tmp_path / "a.txt"))
    with pytest.raises(DataError, match=r"a\.txt: 1 files without any text"):
        tokenizer.run(stage_context(config, tmp_path, output="tokenizer"))


def test_sample_takes_each_sentence_as_likely_as_any_other() -> None:
    text = " ".join(f"Number {i}." for i in range(2000))
    sample = sample_sentences([text], 500)
    assert len(set(sample)) == 500
    numbers = [int(sentence.split()[1][:-1]) for sentence in sample]
    # The mean of 500 of 0..1999 without replacement has a standard error of 22.
    assert abs(sum(numbers) / 500 - 999.5) < 110
    assert sample == sample_sentences([text], 500)


def test_sentences_are_shorter_than_what_sentencepiece_leaves_out() -> None:
    sample = sample_sentences(["\N{SNOWMAN}" * 5000], 100)
    assert max(len(sentence.encode()) for sentence in sample) <= 4192
    assert sum(map(len, sample)) == 5000
