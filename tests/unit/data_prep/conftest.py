"""A small corpus and a tokenizer trained on it, once a session."""

from pathlib import Path

import pytest

from data_prep import synthetic, tokenizer
from data_prep.config import SyntheticConfig, TokenizerConfig
from tests.contexts import stage_context


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 generated documents in the folders topic0, topic1, topic2."""
    folder = tmp_path_factory.mktemp("corpus")
    config = SyntheticConfig(documents=60, classes=3)
    synthetic.run(stage_context(config, folder, output="folder"))
    return folder / "folder"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A TOKENIZER artifact of 200 pieces."""
    folder = tmp_path_factory.mktemp("tokenizer")
    config = TokenizerConfig(vocab_size=200)
    tokenizer.run(stage_context(config, folder, inputs={"text": corpus}, output="tokenizer"))
    return folder / "tokenizer"
