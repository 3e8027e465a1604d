"""A small XLNet with random weights, and batches for it."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import initialise
from stages.xlnet.permutation import attention_keys, draw_ranks

NO_DROPOUT = DropoutConfig(hidden=0.0, attention=0.0, activation=0.0)
VOCAB_SIZE = 40
SHAPE = ModelConfig(num_layers=3, d_model=24, num_heads=4, d_inner=40)


ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True)
class Case:
    """One batch as our model takes it."""

    tokens: Tensor
    segments: Tensor
    keys: tuple[Tensor, Tensor]
    targets: Tensor
    memory: Tensor | None


def our_model(seed: int = 0, shape: ModelConfig = SHAPE) -> LanguageModel:
    """A small model in float64, no dropout, every parameter away from its special initial value."""
    return scatter(LanguageModel(shape, VOCAB_SIZE, NO_DROPOUT), seed)


def scatter(model: ModelT, seed: int = 0) -> ModelT:
    """The model in float64 with random parameters, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    initialise(model, generator, std=0.02)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.15 * noise)
    return model


def case(
    *, batch: int = 3, length: int = 12, num_targets: int = 4, num_memory: int = 0, seed: int = 1
) -> Case:
    """Random tokens, two segments and CLS, an order of its own for each row."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(9, VOCAB_SIZE, (batch, length))
    segments = np.sort(rng.integers(0, 2, (batch, length)), axis=1)
    segments[:, -1] = 2
    functional = np.zeros(length, bool)
    functional[[length // 2, length - 1]] = True
    rows, columns, targets = [], [], []
    for _ in range(batch):
        # Context stays, or a row without memory might see nothing.
        free = rng.permutation(np.flatnonzero(~functional))[:num_targets]
        selected = np.isin(np.arange(length), free)
        row, column = attention_keys(draw_ranks(rng, length, length), selected, functional)
        rows.append(row)
        columns.append(column)
        targets.append(np.sort(free))
    shape = (batch, SHAPE.num_layers, num_memory, SHAPE.d_model)
    memory = torch.from_numpy(rng.standard_normal(shape)) if num_memory else None
    return Case(
        torch.from_numpy(tokens),
        torch.from_numpy(segments),
        (torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(columns))),
        torch.from_numpy(np.stack(targets)),
        memory,
    )
