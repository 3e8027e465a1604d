"""The stage kinds of import and export, one behind the other."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.shards.tokenizer import Tokenizer
from pipeline.training.export import write_weights
from stages.xlnet import exchange
from stages.xlnet.checkpoint import Shape, write_shape
from stages.xlnet.config import ExportHFConfig, ImportHFConfig
from stages.xlnet.heads import LanguageModel
from tests.contexts import stage_context
from tests.xlnet.models import NO_DROPOUT, SHAPE, scatter


def _export(folder: Path, tokenizer: Path) -> Path:
    pieces = Tokenizer(tokenizer)
    checkpoint = folder / "trained"
    checkpoint.mkdir()
    model = scatter(LanguageModel(SHAPE, pieces.vocab_size, NO_DROPOUT)).float()
    write_weights(checkpoint / "model.safetensors", model.state_dict(), {})
    shape = Shape(model=SHAPE, vocab_size=pieces.vocab_size, tokenizer=pieces.sha256)
    write_shape(checkpoint, shape)
    inputs: dict[str, Path | list[Path]] = {"checkpoint": checkpoint, "tokenizer": tokenizer}
    exchange.export_hf(stage_context(ExportHFConfig(), folder, inputs=inputs, output="folder"))
    return folder / "folder"


def _import(folder: Path, source: str) -> None:
    ctx = stage_context(ImportHFConfig(source=source), folder, output="checkpoint")
    (folder / "tokenizer").mkdir()
    outputs = {port: folder / port for port in ("checkpoint", "tokenizer")}
    exchange.import_hf(replace(ctx, outputs=outputs))


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_exported_folder_is_imported_as_it_was_trained(
    tmp_path: Path, tokenizer_folder: Path, prefix: str
) -> None:
    """From a folder, and from a URL."""
    folder = _export(tmp_path, tokenizer_folder)
    _import(tmp_path, f"{prefix}{folder}")
    name = "model.safetensors"
    before, after = tmp_path / "trained" / name, tmp_path / "checkpoint" / name
    assert after.read_bytes() == before.read_bytes()
    config = "config.json"
    shapes = [(path.parent / config).read_text() for path in (before, after)]
    assert shapes[0].replace('"preset": "base"', "") == shapes[1].replace('"preset": "base"', "")
    assert Tokenizer(tmp_path / "tokenizer").pieces == Tokenizer(tokenizer_folder).pieces


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}/nothing/config.json"):
        _import(tmp_path, f"{tmp_path}/nothing")
