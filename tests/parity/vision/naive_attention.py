"""Attention over a map, one pair of positions at a time."""

import math

import torch
from torch import Tensor

from stages.vision.layers.attention import RelativeAttention


def naive_logits(
    attention: RelativeAttention, query: Tensor, key: Tensor, size: tuple[int, int]
) -> Tensor:
    """Scaled logits of one head of one example; (positions, channels) each."""
    height, width = size
    logits = torch.empty(height * width, height * width, dtype=query.dtype)
    for iy in range(height):
        for ix in range(width):
            for jy in range(height):
                for jx in range(width):
                    i, j = iy * width + ix, jy * width + jx
                    logit = query[i] @ key[j]
                    if attention.rows is not None and attention.columns is not None:
                        logit = logit + query[i] @ attention.rows[jy - iy + attention.grid[0] - 1]
                        offset = jx - ix + attention.grid[1] - 1
                        logit = logit + query[i] @ attention.columns[offset]
                    logits[i, j] = logit / math.sqrt(query.shape[-1])
    return logits


def naive_attention(attention: RelativeAttention, kqv: Tensor) -> Tensor:
    """What `attention(kqv)` is to be; channels of head h are h * width to (h + 1) * width."""
    heads = attention.heads
    batch, _, height, width = kqv.shape
    d, e = heads.keys // heads.number, heads.values // heads.number
    out = torch.zeros(batch, heads.values, height, width, dtype=kqv.dtype)
    for b in range(batch):
        for h in range(heads.number):
            flat = kqv[b].reshape(kqv.shape[1], -1).T  # (positions, channels)
            key = flat[:, h * d : (h + 1) * d]
            query = flat[:, heads.keys + h * d : heads.keys + (h + 1) * d]
            start = 2 * heads.keys + h * e
            value = flat[:, start : start + e]
            weights = naive_logits(attention, query, key, (height, width)).softmax(dim=-1)
            out[b, h * e : (h + 1) * e] = (weights @ value).T.reshape(e, height, width)
    return out
