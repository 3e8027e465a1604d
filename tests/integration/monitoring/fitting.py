"""A stage of the run that Prometheus watches: trains on two ranks, of which one is killed once."""

import os
import signal
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import Launch, ScoreSpec, StageSpec
from pipeline.training.config import OptimizerConfig, TrainConfig
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, MethodState, Picks, StepCost, StreamSpec


class FitConfig(StageConfig):
    """`kill_at` is the step in which rank 1 of the first attempt is killed, 0 for none."""

    steps: int
    kill_at: int = 0
    pause_seconds: float = 0.02


class _Line:
    """Fits y = 2x; each step takes as long as it is told to."""

    def __init__(self, ctx: StageContext[FitConfig]) -> None:
        self._ctx = ctx
        self._mark = ctx.state.path / "was-killed"
        self._left = 0 if self._mark.exists() or ctx.world.rank != 1 else ctx.config.kill_at
        self.model: nn.Module = nn.Sequential(nn.Linear(1, 64), nn.Linear(64, 1))
        for number, parameter in enumerate(self.model.parameters()):
            nn.init.constant_(parameter, 0.1 if number % 2 == 0 else 0.0)
        self.streams = {"x": StreamSpec(size=64, batch_size=8)}

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        x = torch.from_numpy(picks["x"].index).float()[:, None] / 64
        return {"x": x, "y": 2 * x}

    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(float(len(batch["x"])))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        time.sleep(self._ctx.config.pause_seconds)
        self._left -= 1
        if self._left == 0:
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        error = (model(batch["x"]) - batch["y"]).square().sum()
        return Loss(error, {"squared_error": error.detach()})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        x = torch.linspace(0, 1, 8)[:, None]
        return {"error": ((model(x) - 2 * x).square().sum(), torch.tensor(8.0))}

    def step_cost(self, *, global_batch_size: int, num_forwards: int) -> StepCost:
        return StepCost(flops=6.0 * 128 * global_batch_size, tokens=float(global_batch_size))

    def state_dict(self) -> Mapping[str, MethodState]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        return


def fit(ctx: StageContext[FitConfig]) -> None:
    config = TrainConfig(
        steps=ctx.config.steps,
        global_batch_size=8,
        optimizer=OptimizerConfig(learning_rate=0.01),
        log_every=5,
        evaluate_every=40,
        checkpoint_every=20,
    )
    train(_Line(ctx), config, ctx, output=ctx.outputs["out"])


FIT = StageSpec(
    name="fit",
    config=FitConfig,
    run="fitting:fit",
    inputs={"in": FOLDER},
    outputs={"out": FOLDER},
    launch=Launch.GANG,
    scores=(ScoreSpec("error", "", "lower", "mean squared error"),),
    uses_seed=True,
)
