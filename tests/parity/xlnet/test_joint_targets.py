"""A task whose optimum is known: two targets, the second a function of the first."""

import math

import torch
from torch.nn import functional

from stages.xlnet.config import ModelConfig
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import initialise
from tests.xlnet.models import NO_DROPOUT

SYMBOLS = 16
STEPS, BATCH = 150, 64


def test_second_target_learns_from_the_first() -> None:
    """Half of the targets can be known, so the loss falls to ln(16) / 2, never below.

    A model that predicts its targets independently, as one with mask symbols does, cannot fall
    below ln(16). Source: Yang et al. 2019, section 2.6 and appendix A.5, the argument made small.
    """
    generator = torch.Generator().manual_seed(0)
    shape = ModelConfig(num_layers=2, d_model=48, num_heads=4, d_inner=96)
    model = LanguageModel(shape, 40, NO_DROPOUT)
    initialise(model, generator, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    image = torch.randperm(SYMBOLS, generator=generator)
    places = torch.tensor([[2, 4]]).repeat(BATCH, 1)
    losses = []
    for _ in range(STEPS):
        first = torch.randint(0, SYMBOLS, (BATCH,), generator=generator)
        tokens = torch.tensor([[36, 37, 0, 38, 0, 39]]).repeat(BATCH, 1)
        tokens[:, 2], tokens[:, 4] = first, SYMBOLS + image[first]
        row = torch.zeros_like(tokens)
        column = torch.full_like(tokens, -1)
        order = torch.randint(0, 2, (BATCH,), generator=generator)
        row[:, places[0]] = column[:, places[0]] = torch.stack([order, 1 - order], dim=1)
        logits, _ = model(tokens, torch.zeros_like(tokens), (row, column), places)
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens.gather(1, places).flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    best = math.log(SYMBOLS) / 2
    reached = sum(losses[-20:]) / 20
    assert best - 0.02 < reached < best + 0.15
