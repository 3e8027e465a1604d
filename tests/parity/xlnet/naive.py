"""One attention layer of XLNet as loops over the formula: slow, and shares no code with ours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sight:
    """Where rows and keys of one example stand, and who may see whom.

    Attributes:
        positions: place of each row among the keys, counted from the first key.
        row_segments: segment of each row.
        key_segments: segment of each key.
        may_see: [row][key].
        sign: -1 where the text is reversed.
    """

    positions: Sequence[int]
    row_segments: Sequence[int]
    key_segments: Sequence[int]
    may_see: Sequence[Sequence[bool]]
    sign: int


def attention(
    weights: dict[str, Tensor], num_heads: int, rows: Tensor, context: Tensor, sight: Sight
) -> Tensor:
    """Attention, residual and norm of one example.

    Args:
        weights: parameters of the layer by their name in `RelativeAttention`.
        num_heads: heads.
        rows: (rows, d_model) what asks.
        context: (keys, d_model) memory, then content.
        sight: positions, segments and masks of both.
    """
    d_model = rows.shape[1]
    d_head = d_model // num_heads
    out = torch.zeros_like(rows)
    for i, row in enumerate(rows):
        mixed = []
        for h in range(num_heads):
            part = slice(h * d_head, (h + 1) * d_head)
            query = weights["q.weight"][part] @ row
            scores = []
            for j, key_input in enumerate(context):
                key = weights["k.weight"][part] @ key_input
                rho = weights["r.weight"][part] @ _sinusoid(
                    sight.sign * (sight.positions[i] - j), d_model
                )
                differs = int(sight.row_segments[i] != sight.key_segments[j])
                score = (
                    (query + weights["bias_content"][h]) @ key
                    + (query + weights["bias_position"][h]) @ rho
                    + (query + weights["bias_segment"][h]) @ weights["seg_key"][differs, h]
                ) / math.sqrt(d_head)
                scores.append(score.item() if sight.may_see[i][j] else -math.inf)
            top = max(scores)
            exps = [math.exp(score - top) for score in scores]
            mean = torch.zeros(d_head, dtype=torch.float64)
            for weight, x in zip(exps, context, strict=True):
                mean += weight / sum(exps) * (weights["v.weight"][part] @ x)
            mixed.append(mean)
        y = row + weights["o.weight"] @ torch.cat(mixed)
        centred = y - y.mean()
        normed = centred / torch.sqrt(centred.square().mean() + 1e-12)
        out[i] = normed * weights["norm.weight"] + weights["norm.bias"]
    return out


def _sinusoid(offset: int, d_model: int) -> Tensor:
    angles = [offset / 10000 ** (2 * t / d_model) for t in range(d_model // 2)]
    return torch.tensor(
        [math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64
    )
