"""Layer-wise decay shows in the updates, which scaled gradients do not."""

import pytest
import torch
from torch import nn

from pipeline.training.config import OptimizerConfig
from pipeline.training.optim import Rule, build_optimizer, parameter_groups, set_learning_rate
from stages.xlnet.rules import layer_wise_rule, parameter_rule
from tests.xlnet.models import SHAPE, our_model

DECAY = 0.5


def _updates(rule: Rule, *, gradient_scale: float) -> list[float]:
    """RMS update of each layer's q after three steps of AdamW under equal random gradients.

    Args:
        rule: how the parameters are updated.
        gradient_scale: factor on gradients for every layer below another.
    """
    model: nn.Module = our_model()
    config = OptimizerConfig(learning_rate=1e-3, weight_decay=0.0)
    optimizer = build_optimizer(parameter_groups(model, rule, weight_decay=0.0), config)
    weights = dict(model.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for name, weight in weights.items():
            scale = 1.0
            if ".layers." in name:
                scale = gradient_scale ** (SHAPE.num_layers - 1 - int(name.split(".")[2]))
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.grad = scale * noise
        set_learning_rate(optimizer, 1e-3)
        optimizer.step()
    names = [f"backbone.layers.{i}.attn.q.weight" for i in range(SHAPE.num_layers)]
    return [(weights[n].detach() - before[n]).square().mean().sqrt().item() for n in names]


def test_layer_decay_shrinks_the_update_of_each_lower_layer() -> None:
    found = _updates(layer_wise_rule(SHAPE.num_layers, DECAY), gradient_scale=1.0)
    assert found[1] / found[2] == pytest.approx(DECAY, rel=0.05)
    assert found[0] / found[2] == pytest.approx(DECAY**2, rel=0.05)


def test_scaling_gradients_instead_leaves_the_updates_as_they_were() -> None:
    """What the released code does: Adam takes the scale out again."""
    found = _updates(parameter_rule, gradient_scale=DECAY)
    assert found[0] / found[2] == pytest.approx(1.0, rel=0.05)


def test_layer_decay_leaves_embedding_and_heads_alone() -> None:
    rule = layer_wise_rule(12, 0.75)
    parameter = nn.Parameter(torch.zeros(1))
    scales = {
        name: rule(name, parameter).lr_scale
        for name in (
            "backbone.embed.weight",
            "backbone.layers.0.ff.up.weight",
            "backbone.layers.11.ff.up.weight",
            "summary.weight",
        )
    }
    assert list(scales.values()) == pytest.approx([1.0, 0.75**11, 1.0, 1.0])


def test_layer_decay_keeps_what_does_not_decay() -> None:
    model = our_model()
    rule = layer_wise_rule(SHAPE.num_layers, DECAY)
    for name, parameter in model.named_parameters():
        assert rule(name, parameter).weight_decay == parameter_rule(name, parameter).weight_decay
