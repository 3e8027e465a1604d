"""Artifacts for XLNet's stages, made by data_prep from generated text, once a session."""

from pathlib import Path

import pytest

from data_prep import synthetic, text, tokenizer
from data_prep.config import SyntheticConfig, TextConfig, TokenizerConfig
from tests.contexts import stage_context


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 generated documents in the folders topic0, topic1, topic2."""
    folder = tmp_path_factory.mktemp("corpus")
    synthetic.run(stage_context(SyntheticConfig(documents=90, classes=3), folder, output="folder"))
    return folder / "folder"


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A TOKENIZER of 200 pieces."""
    return _tokenizer(tmp_path_factory, corpus)


@pytest.fixture(scope="session")
def other_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A TOKENIZER of 200 pieces, trained on a third of the text."""
    return _tokenizer(tmp_path_factory, corpus / "topic0")


@pytest.fixture(scope="session")
def token_folder(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer_folder: Path
) -> Path:
    """SHARDS(tokens) with the splits train and validation."""
    return _shards(TextConfig(validation_fraction=0.2), tmp_path_factory, corpus, tokenizer_folder)


@pytest.fixture(scope="session")
def classified_folder(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer_folder: Path
) -> Path:
    """SHARDS(classified) of three classes with the splits train and validation."""
    config = TextConfig(label="folder", validation_fraction=0.3)
    return _shards(config, tmp_path_factory, corpus, tokenizer_folder)


def _tokenizer(factory: pytest.TempPathFactory, corpus: Path) -> Path:
    folder = factory.mktemp("tokenizer")
    inputs: dict[str, Path | list[Path]] = {"text": corpus}
    config = TokenizerConfig(vocab_size=200)
    tokenizer.run(stage_context(config, folder, inputs=inputs, output="tokenizer"))
    return folder / "tokenizer"


def _shards(
    config: TextConfig, factory: pytest.TempPathFactory, corpus: Path, tokenizer_folder: Path
) -> Path:
    folder = factory.mktemp("shards")
    inputs: dict[str, Path | list[Path]] = {"text": corpus, "tokenizer": tokenizer_folder}
    text.run(stage_context(config, folder, inputs=inputs, output="shards"))
    return folder / "shards"
