"""Weights as a file: tied names, and what is not such a file."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import InputError, StoreError, WorkerExit
from pipeline.node.worker import describe_failure
from pipeline.training.export import read_weights, write_weights
from pipeline.training.loop import train
from tests.mounts import FULL_DISK_BYTES, small_disk
from tests.training.contexts import context, train_config
from tests.training.methods import Regression, RowMemory


class Wide(Regression):
    """Its weights do not fit into a few kilobytes."""

    def __init__(self) -> None:
        super().__init__()
        self.model.register_buffer("ballast", torch.zeros(1 << 14))


def test_export_of_tied_weights_loads_strictly_into_the_model(tmp_path: Path) -> None:
    method = RowMemory()
    train(method, train_config(global_batch_size=4), context(tmp_path), output=tmp_path)
    weights = read_weights(tmp_path / "model.safetensors")
    fresh = RowMemory().model
    fresh.load_state_dict(weights, strict=True)
    assert torch.equal(fresh.output.weight, weights["embedding.weight"])
    assert torch.equal(weights["norm.num_batches_tracked"], torch.tensor(6))


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b'{"a": 1}'])
def test_read_weights_of_something_else_names_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors: not a readable weights file"):
        read_weights(path)


def test_read_weights_of_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable weights file"):
        read_weights(tmp_path / "absent.safetensors")


def test_finish_gets_the_trained_model_in_evaluation_mode(tmp_path: Path) -> None:
    seen: list[tuple[bool, bool, int]] = []

    def finish(model: nn.Module) -> None:
        seen.append((model.training, torch.is_grad_enabled(), len(list(model.parameters()))))

    train(RowMemory(), train_config(global_batch_size=4), context(tmp_path), finish=finish)
    assert seen == [(False, False, 7)]


def test_write_weights_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": torch.ones(2)}, {})
    write_weights(path, {"b": torch.zeros(1)}, {"c": "b"})
    assert read_weights(path).keys() == {"b", "c"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_write_weights_on_a_full_disk_is_a_store_error_and_keeps_the_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "w.safetensors"
        write_weights(path, {"a": torch.ones(2)}, {})
        with pytest.raises(StoreError, match=r"w\.safetensors: could not be written: .*No space"):
            write_weights(path, {"a": torch.ones(FULL_DISK_BYTES)}, {})
        assert read_weights(path)["a"].tolist() == [1.0, 1.0]
        assert [entry.name for entry in disk.iterdir()] == ["w.safetensors"]


def test_train_whose_disk_is_full_at_the_export_is_tried_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk / "filler").write_bytes(b"x" * (FULL_DISK_BYTES - 4096))
        with pytest.raises(StoreError) as caught:
            train(Wide(), train_config(steps=1), context(tmp_path), output=disk)
    assert describe_failure(caught.value).exit_code == WorkerExit.STORE


def test_write_weights_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1), "ä": torch.zeros(2)}
    files = [tmp_path / str(number) for number in range(8)]
    for file in files:
        write_weights(file, weights, {"b": "a"})
    assert len({file.read_bytes() for file in files}) == 1
    assert torch.equal(read_weights(files[0])["b"], weights["a"])
