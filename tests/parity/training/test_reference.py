"""The plain engine against a training loop written by hand, which is what parity means here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.spec.resources import EngineConfig
from pipeline.training.config import TrainConfig
from pipeline.training.export import read_weights
from pipeline.training.loop import train
from pipeline.training.permutation import permutation
from tests.training.contexts import context, recorder_of, train_config
from tests.training.methods import Regression

SEED = 7
ROUNDING = 1e-6
"""float32 against float64 over eight steps."""


def _config(*, bias_correction: bool, ema_decay: float | None = None) -> TrainConfig:
    return train_config(
        steps=8,
        optimizer={
            "learning_rate": 0.05,
            "betas": (0.8, 0.95),
            "weight_decay": 0.1,
            "eps": 1e-6,
            "bias_correction": bias_correction,
        },
        schedule={"kind": "linear", "warmup_steps": 2, "min_ratio": 0.1},
        clip_norm=0.5,
        ema_decay=ema_decay,
    )


def _batches(examples: int) -> Iterator[list[int]]:
    """Eight at a time from epochs that follow one another without a gap."""
    order: list[int] = []
    epoch = 0
    while True:
        while len(order) < 8:
            table = permutation(examples, SEED, "stream", "examples", epoch)
            order += table(np.arange(examples)).tolist()
            epoch += 1
        yield order[:8]
        order = order[8:]


def _by_hand(*, bias_correction: bool) -> tuple[list[float], dict[str, Tensor], dict[str, Tensor]]:
    """Losses, weights and averaged weights (decay 0.9) of the same run in float64."""
    method = Regression()
    x, y = method.examples()
    x, y = x.double(), y.double()
    params = [p.detach().double().requires_grad_() for p in method.model.parameters()]
    first, second = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]
    average = [p.detach().clone() for p in params]
    losses = []
    for step, picks in zip(range(8), _batches(len(x)), strict=False):
        loss = (x[picks] @ params[0].T + params[1] - y[picks]).square().sum() / 8
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, params)
        norm = torch.sqrt(sum((g.square().sum() for g in gradients), torch.zeros(())))
        clip = min(1.0, 0.5 / (norm.item() + 1e-6))
        left = 0.1 + 0.9 * (1 - (step - 2) / 6)
        rate = 0.05 * (step / 2 if step < 2 else left)
        for i, (p, g) in enumerate(zip(params, gradients, strict=True)):
            first[i] = 0.8 * first[i] + 0.2 * clip * g
            second[i] = 0.95 * second[i] + 0.05 * (clip * g) ** 2
            m, v = first[i], second[i]
            if bias_correction:
                m, v = m / (1 - 0.8 ** (step + 1)), v / (1 - 0.95 ** (step + 1))
            decay = 0.1 if p.ndim > 1 else 0.0
            with torch.no_grad():
                p.sub_(rate * (m / (v.sqrt() + 1e-6) + decay * p))
                d = min(0.9, (2 + step) / (11 + step))
                average[i] += (1 - d) * (p - average[i])
    names = [name for name, _ in method.model.named_parameters()]
    weights = {name: p.detach() for name, p in zip(names, params, strict=True)}
    return losses, weights, dict(zip(names, average, strict=True))


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_plain_engine_gives_the_losses_and_weights_of_a_loop_by_hand(
    tmp_path: Path, *, bias_correction: bool, micro_batch_size: int | None
) -> None:
    losses, weights, _ = _by_hand(bias_correction=bias_correction)
    ctx = context(tmp_path, engine=EngineConfig(micro_batch_size=micro_batch_size), seed=SEED)
    train(Regression(), _config(bias_correction=bias_correction), ctx, output=tmp_path)
    assert list(recorder_of(ctx).scalars["train_loss"].values()) == pytest.approx(losses, rel=1e-5)
    for name, tensor in read_weights(tmp_path / "model.safetensors").items():
        torch.testing.assert_close(tensor.double(), weights[name], rtol=1e-5, atol=ROUNDING)


def test_export_with_averaging_holds_the_averages(tmp_path: Path) -> None:
    _, _, averages = _by_hand(bias_correction=True)
    ctx = context(tmp_path, seed=SEED)
    train(Regression(), _config(bias_correction=True, ema_decay=0.9), ctx, output=tmp_path)
    for name, tensor in read_weights(tmp_path / "model.safetensors").items():
        torch.testing.assert_close(tensor.double(), averages[name], rtol=1e-5, atol=ROUNDING)


def test_plain_engine_is_bitwise_torchs_own_adamw(tmp_path: Path) -> None:
    method = Regression()
    model = nn.Linear(3, 1)
    model.load_state_dict(method.model.state_dict())
    groups: list[dict[str, Any]] = [
        {"params": [model.bias], "weight_decay": 0.0},
        {"params": [model.weight]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.1, fused=True)
    x, y = method.examples()
    losses = []
    for _, picks in zip(range(6), _batches(len(x)), strict=False):
        loss = (model(x[picks]) - y[picks]).square().sum() / 8
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    ctx = context(tmp_path, seed=SEED)
    train(method, train_config(), ctx, output=tmp_path)
    assert list(recorder_of(ctx).scalars["train_loss"].values()) == losses
    weights = read_weights(tmp_path / "model.safetensors")
    assert torch.equal(weights["weight"], model.weight)
    assert torch.equal(weights["bias"], model.bias)
