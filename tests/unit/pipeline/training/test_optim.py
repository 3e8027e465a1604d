"""Parameter groups, schedules and seeds: small laws with an independent count."""

import pytest
import torch
from torch import nn

from pipeline.training.config import OptimizerConfig
from pipeline.training.optim import (
    ParameterRule,
    build_optimizer,
    decay_matrices,
    parameter_groups,
    set_learning_rate,
)
from pipeline.training.schedules import learning_rate
from pipeline.training.seeding import derive, generator, torch_generator
from tests.training.contexts import train_config


def test_parameter_groups_put_each_trainable_parameter_in_one_group() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[2].bias.requires_grad_(False)
    groups = parameter_groups(model, decay_matrices, weight_decay=0.3)
    names = {tuple(group["names"]): group["weight_decay"] for group in groups}
    assert names == {
        ("0.bias", "1.weight", "1.bias"): 0.0,
        ("0.weight", "2.weight"): 0.3,
    }


def test_parameter_groups_of_tied_parameters_hold_them_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    (group,) = parameter_groups(model, decay_matrices, weight_decay=0.1)
    assert group["names"] == ["0.weight"]


@pytest.mark.parametrize("bias_correction", [True, False])
def test_lr_scale_scales_the_update_though_adam_ignores_the_gradients_scale(
    *, bias_correction: bool
) -> None:
    model = nn.ParameterDict({"low": torch.ones(4, 1), "high": torch.ones(4, 1)})

    def rule(name: str, _parameter: nn.Parameter) -> ParameterRule:
        return ParameterRule(lr_scale=0.75 if name == "low" else 1.0)

    config = OptimizerConfig(
        learning_rate=1.0, weight_decay=0.5, bias_correction=bias_correction, eps=1e-12
    )
    optimizer = build_optimizer(parameter_groups(model, rule, weight_decay=0.5), config)
    set_learning_rate(optimizer, 0.01)
    for parameter in model.values():
        parameter.grad = torch.full((4, 1), 3.0)
    optimizer.step()
    low, high = (1 - model[name].detach() for name in ("low", "high"))
    torch.testing.assert_close(low, 0.75 * high)
    first = 1.0 if bias_correction else 0.1 / 0.001**0.5
    torch.testing.assert_close(high, torch.full((4, 1), 0.01 * (first + 0.5)))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.0, 0.5, 1.0, 0.8, 0.6, 0.4]),
        ("cosine", [0.0, 0.5, 1.0, 0.2 + 0.8 * 0.853553, 0.2 + 0.8 * 0.5, 0.2 + 0.8 * 0.146447]),
    ],
)
def test_learning_rate_warms_up_from_zero_and_decays_to_the_ratio(
    kind: str, expected: list[float]
) -> None:
    config = train_config(
        optimizer={"learning_rate": 1.0},
        schedule={"kind": kind, "warmup_steps": 2, "min_ratio": 0.2},
    )
    rates = [learning_rate(config, step) for step in range(6)]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_derive_tells_purposes_apart() -> None:
    purposes: list[tuple[str | int, ...]] = [("ab", "c"), ("a", "bc"), ("abc",), ("1",), (1,), ()]
    assert len({derive(5, *purpose) for purpose in purposes} | {derive(6)}) == len(purposes) + 1


def test_generators_of_the_same_purpose_give_the_same_numbers() -> None:
    assert generator(1, "mask", 2).random() == generator(1, "mask", 2).random()
    first, again = (torch.rand(1, generator=torch_generator(1, "mask")) for _ in range(2))
    assert torch.equal(first, again)
