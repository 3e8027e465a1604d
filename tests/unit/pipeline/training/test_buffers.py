"""Averages of running statistics: evaluated with, exported, resumed bitwise."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import Preempted
from pipeline.training.buffers import RunningBuffers
from pipeline.training.export import read_weights
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec
from tests.training.contexts import context, train_config


class _Normed:
    """A norm before a linear layer; remembers the statistics that it was evaluated with."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.BatchNorm1d(3, momentum=0.5), nn.Linear(3, 1))
        self.streams = {"x": StreamSpec(size=64, batch_size=8)}
        self.seen: Tensor | None = None

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        index = torch.from_numpy(picks["x"].index).float()
        return {"x": torch.stack((index, index.sin(), index.cos() * 3), 1)}

    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(len(batch["x"]))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        return Loss(functional.mse_loss(model(batch["x"]), batch["x"][:, :1], reduction="sum"), {})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        self.seen = self.model.state_dict()["0.running_mean"].clone()
        return {}

    def state_dict(self) -> Mapping[str, MethodState]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


def test_evaluation_and_export_have_averaged_statistics(tmp_path: Path) -> None:
    method = _Normed()
    train(method, train_config(ema_decay=0.9), context(tmp_path), output=tmp_path)
    exported = read_weights(tmp_path / "model.safetensors")["0.running_mean"]
    live = method.model.state_dict()["0.running_mean"]
    assert method.seen is not None
    torch.testing.assert_close(exported, method.seen, rtol=0, atol=0)
    assert not torch.allclose(exported, live)
    assert not torch.allclose(exported, torch.zeros(3))


def test_average_of_statistics_is_that_of_the_steps_written_out() -> None:
    norm = nn.BatchNorm1d(2)
    buffers = RunningBuffers(norm, 0.5)
    wanted = torch.zeros(2)
    for step in range(1, 6):
        with torch.no_grad():
            norm.state_dict()["running_mean"].fill_(float(step))
        buffers.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    with buffers.averaged():
        torch.testing.assert_close(norm.state_dict()["running_mean"], wanted)
    assert norm.state_dict()["running_mean"].tolist() == [5, 5]
    assert set(buffers.saved) == {
        *("running_mean", "running_var", "num_batches_tracked"),
        *("average:running_mean", "average:running_var"),
    }


def test_resumed_run_ends_with_the_same_averages(tmp_path: Path) -> None:
    config = train_config(ema_decay=0.9, checkpoint_every=2)
    train(_Normed(), config, context(tmp_path / "whole"), output=tmp_path / "whole")
    asked = iter([False] * 3 + [True] * 9)
    with pytest.raises(Preempted):
        train(_Normed(), config, context(tmp_path / "cut", should_stop=lambda: next(asked)))
    train(_Normed(), config, context(tmp_path / "cut"), output=tmp_path / "cut")
    whole, cut = (read_weights(tmp_path / n / "model.safetensors") for n in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=0, atol=0)
