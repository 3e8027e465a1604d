"""What the model made of one held-out example, as pictures for the report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.metrics.pictures import Heatmap, Picture, Spans, Table
from pipeline.shards.tokenizer import SPACE
from stages.xlnet.attention import RelativeAttention
from stages.xlnet.rows import Ids

_NUM_GUESSES = 3
_MAX_TARGETS = 24
"""Targets drawn; a longer example is shown by its first ones."""
_MAX_KEYS = 56
_MAX_HEADS = 4
_MARGIN = 4
"""Positions shown on either side of the targets."""


@dataclass(frozen=True)
class SeenExample:
    """One example of the held-out rows and what was predicted; everything on the host.

    Attributes:
        tokens: (seq_len,) ids.
        targets: (targets,) rising positions that the query stream predicted.
        guesses: (targets, 3) ids, the most probable first.
        guess_probs: (targets, 3).
        true_probs: (targets,) of the token that is there.
        attention: layer -> (heads, targets, memory + seq_len), whom the query stream looked at.
    """

    tokens: Ids
    targets: Ids
    guesses: Ids
    guess_probs: NDArray[np.float32]
    true_probs: NDArray[np.float32]
    attention: Mapping[int, NDArray[np.float32]]


@contextmanager
def watched_attention(model: nn.Module, *, num_targets: int) -> Iterator[dict[int, Tensor]]:
    """Layer (from 1) -> (heads, targets, keys) of the first example in the next forward pass.

    The last dropout before the values sees the probabilities; in evaluation it changes none.
    """
    layers = [module for module in model.modules() if isinstance(module, RelativeAttention)]
    seen: dict[int, Tensor] = {}

    def keep(number: int, heads: int, probs: Tensor) -> None:
        # (heads * batch, rows, keys), heads outermost; the query stream's rows are the last.
        by_head = probs.view(heads, -1, *probs.shape[1:])
        seen[number] = by_head[:, 0, -num_targets:].detach().float().cpu()

    handles = [
        layer.prob_dropout.register_forward_hook(
            lambda _module, _inputs, probs, number=number, heads=layer.num_heads: keep(
                number, heads, probs
            )
        )
        for number, layer in enumerate(layers, 1)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def seen_example(
    batch: Mapping[str, Tensor], logits: Tensor, attention: Mapping[int, Tensor]
) -> SeenExample:
    """The first example of a batch.

    Args:
        batch: fields of `examples.Example`, (batch, ...) each.
        logits: (batch, targets, vocab_size).
        attention: as `watched_attention` gives it.
    """
    labels = batch["labels"][0]
    is_target = labels >= 0
    probs = logits[0][is_target].float().softmax(dim=-1)
    guess_probs, guesses = probs.topk(min(_NUM_GUESSES, probs.shape[-1]), dim=-1)
    true_probs = probs.gather(-1, labels[is_target][:, None])[:, 0]
    is_target_host = is_target.cpu()
    return SeenExample(
        tokens=batch["tokens"][0].cpu().numpy(),
        targets=batch["targets"][0][is_target].cpu().numpy(),
        guesses=guesses.cpu().numpy(),
        guess_probs=guess_probs.cpu().numpy(),
        true_probs=true_probs.cpu().numpy(),
        attention={n: maps[:, is_target_host].numpy() for n, maps in attention.items()},
    )


def pictures_of(seen: SeenExample, pieces: Sequence[str]) -> list[Picture]:
    """The text with hits and misses, the guesses, and attention maps of the last layer."""
    if not len(seen.targets):
        return []
    last = max(seen.attention)
    heads = seen.attention[last][:_MAX_HEADS]
    return [
        _text(seen, pieces),
        _guesses(seen, pieces),
        *(
            _attention(seen, pieces, probs, f"Attention of the query stream, layer {last} head {n}")
            for n, probs in enumerate(heads, 1)
        ),
    ]


def _text(seen: SeenExample, pieces: Sequence[str]) -> Spans:
    labels = [""] * len(seen.tokens)
    for place, target in enumerate(seen.targets):
        is_first = seen.guesses[place, 0] == seen.tokens[target]
        is_near = is_first or seen.tokens[target] in seen.guesses[place]
        labels[target] = "right" if is_first else "near" if is_near else "wrong"
    texts = [pieces[token].replace(SPACE, " ") for token in seen.tokens]
    return Spans(
        "Held-out text: predicted right, near (second or third guess), wrong", texts, labels
    )


def _guesses(seen: SeenExample, pieces: Sequence[str]) -> Table:
    columns = ["position", "token", "probability"]
    columns += [f"guess {n}" for n in range(1, seen.guesses.shape[1] + 1)]
    rows: list[list[str | float | int]] = []
    for place, target in enumerate(seen.targets):
        guesses = [
            f"{pieces[token]} {prob:.2f}"
            for token, prob in zip(seen.guesses[place], seen.guess_probs[place], strict=True)
        ]
        true = float(seen.true_probs[place])
        rows.append([int(target), pieces[seen.tokens[target]], round(true, 4), *guesses])
    return Table("Predicted tokens", columns, rows)


def _attention(
    seen: SeenExample, pieces: Sequence[str], probs: NDArray[np.float32], title: str
) -> Heatmap:
    """A row a target: whom it looked at nearby, and how much went to memory and elsewhere."""
    targets = seen.targets[:_MAX_TARGETS]
    num_memory = probs.shape[-1] - len(seen.tokens)
    begin = max(0, int(targets[0]) - _MARGIN)
    end = min(len(seen.tokens), begin + _MAX_KEYS, int(targets[-1]) + 1 + _MARGIN)
    targets = targets[targets < end]
    probs = probs[: len(targets)]
    memory = probs[:, :num_memory].sum(axis=1, keepdims=True)
    near = probs[:, num_memory + begin : num_memory + end]
    elsewhere = 1 - memory - near.sum(axis=1, keepdims=True)
    # Two targets may be the same piece: their positions tell the rows apart.
    rows = [f"{pieces[seen.tokens[target]]} {target}" for target in targets]
    columns = ["(memory)", "(elsewhere)", *(pieces[token] for token in seen.tokens[begin:end])]
    values = np.concatenate([memory, elsewhere.clip(0), near], axis=1).astype(np.float32)
    return Heatmap(title, values, rows, columns)
