"""Small methods to train: a regression in 30 lines, and one with everything that can go wrong."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec
from pipeline.training.seeding import torch_generator


class Regression:
    """Fits y = x @ w + b; the smallest complete method, and how one is written."""

    def __init__(self, *, examples: int = 50, batch_size: int = 8, seed: int = 5) -> None:
        random = torch_generator(seed, "regression")
        self._x = torch.randn(examples, 3, generator=random)
        self._y = self._x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.25
        self.model = nn.Linear(3, 1)
        nn.init.zeros_(self.model.weight)
        nn.init.zeros_(self.model.bias)
        self.streams = {"examples": StreamSpec(size=examples, batch_size=batch_size)}

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        index = torch.from_numpy(picks["examples"].index)
        return {"x": self._x[index], "y": self._y[index]}

    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(float(len(batch["y"])))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        error = (model(batch["x"]).float() - batch["y"]).square().sum()
        return Loss(error, {"squared_error": error.detach()})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        error = (model(self._x).float() - self._y).square().sum()
        return {"error": (error, torch.tensor(float(len(self._y))))}

    def state_dict(self) -> Mapping[str, MethodState]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        return
