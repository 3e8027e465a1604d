"""Folders of transformers: there and back with the same bits, and the same numbers in between."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, XLNetLMHeadModel, XLNetModel
from typing_extensions import override

from pipeline.errors import InputError
from pipeline.training.export import read_weights, write_weights
from stages.xlnet.checkpoint import Shape, read_shape, write_shape
from stages.xlnet.convert import main
from stages.xlnet.heads import Classifier, LanguageModel
from stages.xlnet.model import Backbone
from stages.xlnet.names import shared_biases
from stages.xlnet.permutation import padding_keys
from stages.xlnet.transformers_folder import export_folder, import_folder
from tests.parity.xlnet.hf import copy_weights, hf_config
from tests.xlnet.corpus import sentencepiece_model
from tests.xlnet.models import NO_DROPOUT, SHAPE, case, our_model, scatter

ROUNDING = 1e-5  # float32
PIECES = 40


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(CHECKPOINT of a language model, TOKENIZER), by way of a folder of transformers."""
    root = tmp_path_factory.mktemp("artifacts")
    source = root / "source"
    source.mkdir()
    (source / "spiece.model").write_bytes(sentencepiece_model(PIECES))
    _theirs(our_model(), source)
    return _import(source, root / "imported")


def _theirs(ours: LanguageModel, folder: Path, **changes: Any) -> None:
    """Writes what transformers itself would write for our model."""
    theirs = XLNetLMHeadModel(hf_config(**changes))
    copy_weights(ours, theirs)
    theirs.save_pretrained(folder)


def _import(source: Path, root: Path, **options: Any) -> tuple[Path, Path]:
    checkpoint, tokenizer = root / "checkpoint", root / "tokenizer"
    checkpoint.mkdir(parents=True)
    tokenizer.mkdir()
    import_folder(source, checkpoint, tokenizer, **options)
    return checkpoint, tokenizer


def _export(artifacts: tuple[Path, Path], folder: Path, **options: Any) -> Path:
    folder.mkdir()
    export_folder(*artifacts, folder, **options)
    return folder


def _hidden(checkpoint: Path) -> Tensor:
    backbone = Backbone(read_shape(checkpoint).model, PIECES, NO_DROPOUT)
    weights = read_weights(checkpoint / "model.safetensors")
    backbone.load_state_dict(
        {k.removeprefix("backbone."): t for k, t in weights.items() if k.startswith("backbone.")}
    )
    inputs = case()
    keys = padding_keys(torch.zeros_like(inputs.tokens, dtype=torch.bool))
    hidden: Tensor = backbone(inputs.tokens, inputs.segments, keys)[0].detach()
    return hidden


def _their_hidden(folder: Path) -> Tensor:
    inputs = case()
    model: Any = XLNetModel.from_pretrained(folder)  # in evaluation mode
    output = model(inputs.tokens, token_type_ids=inputs.segments)
    hidden: Tensor = output.last_hidden_state.detach()
    return hidden


def _fresh(folder: Path, tokenizer: Path, **shape: Any) -> tuple[Path, Path]:
    """A checkpoint as our own pretraining leaves it, with another shape where given."""
    config = SHAPE.model_copy(update=shape)
    folder.mkdir()
    weights = scatter(LanguageModel(config, PIECES, NO_DROPOUT)).float().state_dict()
    write_weights(folder / "model.safetensors", weights, shared_biases(config))
    write_shape(folder, Shape(model=config, vocab_size=PIECES, tokenizer="0" * 64))
    return folder, tokenizer


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_there_and_back_gives_the_same_bits(
    artifacts: tuple[Path, Path], tmp_path: Path, form: Any
) -> None:
    folder = _export(artifacts, tmp_path / "folder", form=form)
    again = _import(folder, tmp_path)
    for mine, other in zip(artifacts, again, strict=True):
        for file in sorted(mine.iterdir()):
            assert (other / file.name).read_bytes() == file.read_bytes(), file.name


def test_their_configuration_comes_back_as_it_was(
    artifacts: tuple[Path, Path], tmp_path: Path
) -> None:
    source = artifacts[0].parents[1] / "source"
    folder = _export(artifacts, tmp_path / "folder")
    before, after = (json.loads((f / "config.json").read_text()) for f in (source, folder))
    assert after == before
    assert (folder / "spiece.model").read_bytes() == (source / "spiece.model").read_bytes()


def test_imported_model_gives_the_states_of_transformers(artifacts: tuple[Path, Path]) -> None:
    theirs = _their_hidden(artifacts[0].parents[1] / "source")
    assert (_hidden(artifacts[0]) - theirs).abs().max() < ROUNDING * theirs.abs().max()


@pytest.mark.parametrize("shape", [{}, {"untie_r": False}, {"activation": "relu"}], ids=str)
def test_checkpoint_of_ours_loads_into_transformers_with_the_same_states(
    artifacts: tuple[Path, Path], tmp_path: Path, shape: dict[str, Any]
) -> None:
    ours = _fresh(tmp_path / "fresh", artifacts[1], **shape)
    theirs = _their_hidden(_export(ours, tmp_path / "folder"))
    assert (_hidden(ours[0]) - theirs).abs().max() < ROUNDING * theirs.abs().max()


def test_classifier_loads_with_the_names_of_its_classes(
    artifacts: tuple[Path, Path], tmp_path: Path
) -> None:
    model = scatter(Classifier(SHAPE, PIECES, NO_DROPOUT, num_classes=3)).float()
    checkpoint = tmp_path / "classifier"
    checkpoint.mkdir()
    write_weights(checkpoint / "model.safetensors", model.state_dict(), {})
    shape = Shape(model=SHAPE, vocab_size=PIECES, tokenizer="0" * 64, classes=("a", "b", "c"))
    write_shape(checkpoint, shape)
    folder = _export((checkpoint, artifacts[1]), tmp_path / "folder")
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = case()
    keys = padding_keys(torch.zeros_like(inputs.tokens, dtype=torch.bool))
    logits = model.eval()(inputs.tokens, inputs.segments, keys)
    their_logits = theirs(inputs.tokens, token_type_ids=inputs.segments).logits
    assert (logits - their_logits).abs().max() < ROUNDING * logits.abs().max()
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"}
    again, _ = _import(folder, tmp_path / "again")
    assert read_shape(again).classes == ("a", "b", "c")


def test_activation_can_be_that_of_the_released_weights(
    artifacts: tuple[Path, Path], tmp_path: Path
) -> None:
    """Their config.json says gelu, which transformers computes with erf; TensorFlow used tanh."""
    source = tmp_path / "source"
    source.mkdir()
    for file in (artifacts[0].parents[1] / "source").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"ff_activation": "gelu"}))
    as_they, _ = _import(source, tmp_path / "a")
    as_released = _import(source, tmp_path / "b", activation="gelu_tanh")
    assert read_shape(as_they).model.activation == "gelu_erf"
    assert read_shape(as_released[0]).model.activation == "gelu_tanh"
    written = json.loads((_export(as_released, tmp_path / "c") / "config.json").read_text())
    assert written == config | {"ff_activation": "gelu_new"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type"),
        ({"attn_type": "uni"}, "attn_type"),
        ({"clamp_len": 100}, "clamp_len"),
        ({"same_length": True}, "same_length"),
        ({"vocab_size": 41}, "41 embeddings for 40 pieces"),
        ({"n_layer": 2}, "no XLNet weight that we know: transformer.layer.2"),
    ],
)
def test_what_we_cannot_compute_is_refused(
    artifacts: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in (artifacts[0].parents[1] / "source").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        _import(source, tmp_path)


class _Evil:
    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code of a checkpoint ran",)


def test_bin_that_holds_code_is_refused_and_not_run(
    artifacts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _export(artifacts, tmp_path / "folder", form="bin")
    torch.save({"transformer.mask_emb": _Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="not a readable file of weights alone"):
        _import(folder, tmp_path)
    assert capsys.readouterr().out == ""


def test_index_that_leaves_the_folder_is_refused(
    artifacts: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = _export(artifacts, tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"transformer.mask_emb": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"'\.\./\.\./secret\.safetensors' is no name of a file"):
        _import(folder, tmp_path)


def test_output_matrix_that_is_not_the_embedding_is_refused(
    artifacts: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = _export(artifacts, tmp_path / "folder", form="bin")
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["lm_loss.weight"] = weights["lm_loss.weight"] + 1
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"lm_loss\.weight is not the embedding"):
        _import(folder, tmp_path)


def test_command_converts_both_ways_and_says_what_is_wrong(
    artifacts: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    assert main(["export", *map(str, artifacts), str(folder), "--form", "bin"]) == 0
    assert main(["import", str(folder), str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    name = "model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (artifacts[0] / name).read_bytes()
    (folder / "spiece.model").unlink()
    assert main(["import", str(folder), str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "a sentencepiece model belongs to every XLNet" in caplog.text
