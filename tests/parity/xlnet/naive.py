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


def model(
    weights: dict[str, Tensor],
    num_layers: int,
    num_heads: int,
    tokens: Sequence[int],
    targets: Sequence[int],
    memory: Tensor | None,
    sight: Sight,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Every layer of both streams for one example, and the logits at the targets.

    Args:
        weights: parameters by their name in `LanguageModel`.
        num_layers: layers.
        num_heads: heads.
        tokens: the example's ids.
        targets: positions that are predicted.
        memory: (layers, memory, d_model); None without.
        sight: content rows, then target rows.

    Returns:
        logits (targets, vocab_size), content states (length, d_model) of the last layer, and what
        each layer was given of the content stream.
    """
    embed = weights["backbone.embed.weight"]
    content = torch.stack([embed[token] for token in tokens])
    query = torch.stack([weights["backbone.query_init"]] * len(targets))
    seen = []
    for number in range(num_layers):
        seen.append(content)
        prefix = f"backbone.layers.{number}."
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        attn = {k.removeprefix("attn."): v for k, v in own.items() if k.startswith("attn.")}
        past = content[:0] if memory is None else memory[number]
        context = torch.cat([past, content])
        rows = attention(attn, num_heads, torch.cat([content, query]), context, sight)
        rows = torch.stack([_feed_forward(own, row) for row in rows])
        content, query = rows[: len(tokens)], rows[len(tokens) :]
    logits = torch.stack(
        [
            torch.stack([embed[v] @ g + weights["lm_head.bias"][v] for v in range(len(embed))])
            for g in query
        ]
    )
    return logits, content, seen


def _feed_forward(weights: dict[str, Tensor], row: Tensor) -> Tensor:
    inner = weights["ff.up.weight"] @ row + weights["ff.up.bias"]
    bent = [
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        for x in inner.tolist()
    ]
    y = row + weights["ff.down.weight"] @ torch.tensor(bent, dtype=torch.float64)
    y = y + weights["ff.down.bias"]
    centred = y - y.mean()
    normed = centred / torch.sqrt(centred.square().mean() + 1e-12)
    return normed * weights["ff.norm.weight"] + weights["ff.norm.bias"]
