"""Files that TensorFlow wrote, read without it; see released/PROVENANCE.md."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.training.export import read_weights
from stages.xlnet.checkpoint import read_shape
from stages.xlnet.convert import main
from stages.xlnet.tensorflow_checkpoint import export_variables, import_released, read_variables
from tests.xlnet.corpus import sentencepiece_model

FILES = Path(__file__).parent / "released"
PREFIX = FILES / "xlnet_model.ckpt"
CONFIG = {
    "d_head": 2,
    "d_inner": 6,
    "d_model": 4,
    "ff_activation": "gelu",
    "n_head": 2,
    "n_layer": 2,
    "n_token": 12,
    "untie_r": True,
}


def _expected(number: int, *shape: int) -> NDArray[np.float32]:
    values = number + 0.01 * np.arange(np.prod(shape))
    return values.astype(np.float32).reshape(shape)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder as one is unpacked."""
    folder = tmp_path / "released"
    shutil.copytree(FILES, folder)
    (folder / "xlnet_config.json").write_text(json.dumps(CONFIG))
    (folder / "spiece.model").write_bytes(sentencepiece_model(12))
    return folder


def _import(released: Path) -> Path:
    checkpoint, tokenizer = released / "checkpoint", released / "tokenizer"
    arguments = ["import-tf", str(released / "xlnet_model.ckpt"), str(checkpoint), str(tokenizer)]
    assert main(arguments) == 0
    return checkpoint


def test_variables_are_those_that_were_written() -> None:
    found = read_variables(PREFIX)
    assert len(found) == 7 + 2 * 13 + 2 + 1
    assert found["global_step"] == 7
    word = found["model/transformer/word_embedding/lookup_table"]
    np.testing.assert_array_equal(word, _expected(0, 12, 4))
    np.testing.assert_array_equal(found["model/transformer/seg_embed"], _expected(6, 2, 2, 2, 2))
    down = found["model/transformer/layer_1/ff/layer_2/kernel"]
    np.testing.assert_array_equal(
        down.ravel()[:2], down.flat[0] + np.array([0, 0.01], np.float32), strict=True
    )


def test_released_weights_take_our_names_and_shapes(released: Path) -> None:
    checkpoint = _import(released)
    weights = read_weights(checkpoint / "model.safetensors")
    shape = read_shape(checkpoint)
    assert (shape.model.num_layers, shape.model.activation) == (2, "gelu_tanh")
    q = torch.from_numpy(_expected(7, 4, 2, 2))  # (input, head, width)
    ours = weights["backbone.layers.0.attn.q.weight"].view(2, 2, 4)  # (head, width, input)
    assert torch.equal(ours, q.permute(1, 2, 0))
    o = torch.from_numpy(_expected(11, 4, 2, 2))  # (output, head, width)
    assert torch.equal(weights["backbone.layers.0.attn.o.weight"].view(4, 2, 2), o)
    bias = torch.from_numpy(_expected(4, 2, 2, 2))
    assert torch.equal(weights["backbone.layers.1.attn.bias_position"], bias[1])
    up = torch.from_numpy(_expected(16, 4, 6))
    assert torch.equal(weights["backbone.layers.0.ff.up.weight"], up.T)


def test_import_and_export_give_the_same_bits(released: Path) -> None:
    export_variables(_import(released), released / "again.npz")
    before = {
        name: array
        for name, array in read_variables(PREFIX).items()
        if not name.endswith(("adam_m", "adam_v", "global_step"))
    }
    with np.load(released / "again.npz") as after:
        assert set(after.files) == before.keys()
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array, strict=True)


def test_exported_variables_are_read_again(released: Path) -> None:
    checkpoint = _import(released)
    export_variables(checkpoint, released / "again.npz")
    (released / "second").mkdir()
    (released / "pieces").mkdir()
    import_released(released / "again.npz", released / "second", released / "pieces")
    name = "model.safetensors"
    assert (released / "second" / name).read_bytes() == (checkpoint / name).read_bytes()


@pytest.mark.parametrize("kept", [0, 40, 700])
def test_index_that_is_cut_short_is_refused(released: Path, kept: int) -> None:
    index = released / "xlnet_model.ckpt.index"
    index.write_bytes(index.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{index}: no readable checkpoint of TensorFlow"):
        read_variables(released / "xlnet_model.ckpt")


def test_data_that_are_cut_short_are_refused(released: Path) -> None:
    data = released / "xlnet_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(InputError, match="no readable checkpoint of TensorFlow"):
        read_variables(released / "xlnet_model.ckpt")


@pytest.mark.parametrize("place", range(0, 1400, 97))
def test_index_with_a_broken_byte_is_refused_or_read(released: Path, place: int) -> None:
    """Nothing but an InputError comes out of hostile bytes."""
    index = released / "xlnet_model.ckpt.index"
    raw = bytearray(index.read_bytes())
    raw[place] ^= 0xFF
    index.write_bytes(raw)
    with suppress(InputError):
        read_variables(released / "xlnet_model.ckpt")
