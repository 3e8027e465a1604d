"""Parameter groups, schedules and seeds: small laws with an independent count."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pipeline.training.config import OptimizerConfig
from pipeline.training.optim import (
    ParameterRule,
    build_optimizer,
    clip_gradients,
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


def _run(config: OptimizerConfig, gradients: list[list[float]], rate: float) -> list[float]:
    """The weights after steps with these gradients, from [1, -2]."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    model = nn.Module()
    model.register_parameter("weight", weight)
    groups = parameter_groups(model, lambda *_: ParameterRule(), weight_decay=config.weight_decay)
    optimizer = build_optimizer(groups, config)
    set_learning_rate(optimizer, rate)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    return weight.tolist()


def test_rmsprop_is_tensorflows_written_out() -> None:
    config = OptimizerConfig(kind="rmsprop_tf", learning_rate=1, weight_decay=0.02, decay=0.8)
    gradients = [[1.0, 0.3], [0.5, -0.1], [-2.0, 0.0], [0.0, 4.0]]
    weights, square, moment = [1.0, -2.0], [1.0, 1.0], [0.0, 0.0]
    for gradient in gradients:
        for i in range(2):
            g = gradient[i] + 0.02 * weights[i]
            square[i] = 0.8 * square[i] + 0.2 * g * g
            moment[i] = 0.9 * moment[i] + 0.1 * g / (square[i] + 1e-3) ** 0.5
            weights[i] -= moment[i]
    assert _run(config, gradients, 0.1) == pytest.approx(weights, rel=1e-13)


def test_rmsprop_first_steps_are_those_of_the_sheet() -> None:
    config = OptimizerConfig(kind="rmsprop_tf", learning_rate=1, weight_decay=0.0)
    first = 0.1 / 1.001**0.5
    assert first == pytest.approx(0.09995, abs=1e-5)
    assert _run(config, [[1.0, 1.0]], 0.1)[0] == pytest.approx(1 - first, rel=1e-12)
    after_two = 1 - first - (0.9 * first + first)
    assert _run(config, [[1.0, 1.0]] * 2, 0.1)[0] == pytest.approx(after_two, rel=1e-12)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_torchs(*, nesterov: bool) -> None:
    config = OptimizerConfig(kind="sgd", learning_rate=1, weight_decay=0.1, nesterov=nesterov)
    gradients = [[1.0, 0.3], [0.5, -0.1], [-2.0, 0.0]]
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([weight], 0.05, 0.9, weight_decay=0.1, nesterov=nesterov)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        theirs.step()
    assert _run(config, gradients, 0.05) == pytest.approx(weight.tolist(), rel=1e-13)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "sgd", "decay": 0.5}, "kind: sgd has no decay"),
        ({"kind": "rmsprop_tf", "betas": [0.5, 0.9]}, "kind: rmsprop_tf has no betas"),
        ({"momentum": 0.5}, "kind: adamw has no momentum"),
    ],
)
def test_field_of_another_optimizer_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OptimizerConfig.model_validate({"learning_rate": 1, **values})


def test_exponential_schedule_counts_the_warmup_as_efficientnets_code_does() -> None:
    schedule = {"kind": "exponential", "warmup_steps": 50, "decay_steps": 24.0, "decay_rate": 0.97}
    config = train_config(steps=400, optimizer=OptimizerConfig(learning_rate=2), schedule=schedule)
    assert learning_rate(config, 25) == pytest.approx(1.0)
    # At ten steps an epoch: five epochs of warm-up, then 0.97 ** floor(epoch / 2.4).
    assert learning_rate(config, 50) == pytest.approx(2 * 0.97**2)
    assert learning_rate(config, 71) == pytest.approx(2 * 0.97**2)
    assert learning_rate(config, 72) == pytest.approx(2 * 0.97**3)
    smooth = train_config(
        steps=400,
        optimizer=OptimizerConfig(learning_rate=2),
        schedule=schedule | {"staircase": False},
    )
    assert learning_rate(smooth, 60) == pytest.approx(2 * 0.97**2.5)


def test_steps_schedule_falls_at_its_milestones() -> None:
    schedule = {"kind": "steps", "milestones": [30, 60], "decay_rate": 0.1}
    config = train_config(steps=90, optimizer=OptimizerConfig(learning_rate=1), schedule=schedule)
    rates = [learning_rate(config, step) for step in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    with pytest.raises(ValidationError, match="milestones goes with kind: steps"):
        train_config(schedule={"kind": "cosine", "milestones": [3]})
    with pytest.raises(ValidationError, match="decay_steps goes with kind: exponential"):
        train_config(schedule={"kind": "exponential"})


@pytest.mark.parametrize(("bound", "scale"), [(None, 1.0), (10.0, 1.0), (2.5, 0.5)])
def test_clip_gradients_tells_the_norm_before_and_scales_what_exceeds_the_bound(
    bound: float | None, scale: float
) -> None:
    first, second, idle = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([first, second, idle], bound).item() == pytest.approx(5.0)
    assert [first.grad.item(), second.grad.item()] == pytest.approx([3 * scale, 4 * scale])
    assert idle.grad is None
