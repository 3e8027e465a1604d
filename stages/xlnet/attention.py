"""Two-stream attention with relative positions and relative segments, both streams in one call."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from stages.xlnet.permutation import blocked
from stages.xlnet.positions import MaskedShift

NUM_SEGMENTS = 5
"""Segment ids are below it: A, B, CLS, and two kinds of padding."""

_NEVER = -30_000.0
"""Added to a score that shall not count: its exp is 0 in every precision, and float16 holds it."""


@dataclass(frozen=True)
class Surroundings:
    """What every layer's attention shares; built once a forward pass.

    Rows are the content positions, then the targets of the query stream; keys are the memory, then
    the content positions.

    Attributes:
        tables: (directions, keys + length - 1, d_model) sinusoids, dropout applied.
        mask: (batch, rows, keys) 0, or a very negative number where a row may not attend.
        row_segments: (batch, rows, NUM_SEGMENTS) one-hot.
        key_segments: (batch, keys, NUM_SEGMENTS) one-hot.
        targets: (batch, targets) int64 position of each query row; None without a query stream.
        sees: (batch, rows, 1) 0 for rows that may attend to nothing, else 1; None where every row
            sees a key.
    """

    tables: Tensor
    mask: Tensor
    row_segments: Tensor
    key_segments: Tensor
    targets: Tensor | None
    sees: Tensor | None

    def of_queries(self, length: int) -> "Surroundings":
        """Those of the query rows alone, behind `length` content rows."""
        return replace(
            self,
            mask=self.mask[:, length:],
            row_segments=self.row_segments[:, length:],
            sees=None if self.sees is None else self.sees[:, length:],
        )


def surroundings(
    tables: Tensor,
    segments: Tensor,
    keys: tuple[Tensor, Tensor],
    *,
    num_memory: int,
    targets: Tensor | None,
) -> Surroundings:
    """Masks and segments of both streams.

    Args:
        tables: as in `Surroundings`; gives the dtype.
        segments: (batch, length) int64 ids below NUM_SEGMENTS; memory counts as segment 0.
        keys: row and column keys of the order, (batch, length) each; see `permutation`.
        num_memory: cached positions; every row sees them.
        targets: (batch, targets) positions of the query stream, or None.
    """
    row, column = keys
    length = row.shape[1]
    hidden = blocked(row, column)
    itself = torch.eye(length, dtype=torch.bool, device=row.device)
    rows = hidden & ~itself
    sees = None
    row_segments = segments
    if targets is not None:
        queries = hidden.gather(1, targets[:, :, None].expand(-1, -1, length))
        rows = torch.cat([rows, queries], dim=1)
        row_segments = torch.cat([segments, segments.gather(1, targets)], dim=1)
        if num_memory == 0:
            # A softmax over nothing would be one over everything, the target itself included.
            sees = (~rows.all(dim=-1, keepdim=True)).to(tables.dtype)
    mask = functional.pad(rows.to(tables.dtype) * _NEVER, (num_memory, 0))
    key_segments = functional.pad(segments, (num_memory, 0))
    return Surroundings(
        tables=tables,
        mask=mask,
        row_segments=functional.one_hot(row_segments, NUM_SEGMENTS).to(tables.dtype),
        key_segments=functional.one_hot(key_segments, NUM_SEGMENTS).to(tables.dtype),
        targets=targets,
        sees=sees,
    )


class RelativeAttention(nn.Module):
    """Attention of one layer, with its residual and norm.

    score[i, j] = ((q_i + u) . k_j + (q_i + w) . rho[pos_i - pos_j] + (q_i + s) . E[seg_i != seg_j])
                  / sqrt(d_head)

    The segment term is computed inside the product of queries and keys: up to a constant of the
    row, which softmax ignores, it is -(q_i + s) . (E[1] - E[0]) where the segments are the same,
    so queries carry that number in the column of their segment and keys a one in theirs.

    Source: Yang et al. 2019, section 2.4-2.5 and released code, modeling.py `rel_attn_core`.
    """

    def __init__(self, d_model: int, num_heads: int, *, dropout: float, prob_dropout: float):
        super().__init__()
        d_head = d_model // num_heads
        self.num_heads = num_heads
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.k = nn.Linear(d_model, d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)
        self.r = nn.Linear(d_model, d_model, bias=False)
        self.o = nn.Linear(d_model, d_model, bias=False)
        self.bias_content = nn.Parameter(torch.empty(num_heads, d_head))
        self.bias_position = nn.Parameter(torch.empty(num_heads, d_head))
        self.bias_segment = nn.Parameter(torch.empty(num_heads, d_head))
        self.seg_key = nn.Parameter(torch.empty(2, num_heads, d_head))
        self.norm = nn.LayerNorm(d_model, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.prob_dropout = nn.Dropout(prob_dropout)

    @override
    def forward(self, rows: Tensor, context: Tensor, around: Surroundings) -> Tensor:
        """One layer's attention.

        Args:
            rows: (batch, rows, d_model) content stream, then query stream.
            context: (batch, keys, d_model) memory, then content stream; what is attended to.
            around: masks, segments and positions of these rows and keys.

        Returns:
            (batch, rows, d_model).
        """
        batch, num_rows, d_model = rows.shape
        key = self._by_head(self.k(context))
        value = self._by_head(self.v(context)).flatten(0, 1)
        key = torch.cat([key, _per_head(around.key_segments, self.num_heads)], dim=-1)
        query = self._by_head(self.q(rows)) * (d_model // self.num_heads) ** -0.5
        scores = MaskedShift.apply(
            self._position_scores(query, around), around.mask, around.targets
        )
        scores = torch.baddbmm(
            scores.flatten(0, 1),
            self._content_queries(query, around).flatten(0, 1),
            key.flatten(0, 1).transpose(1, 2),
        )
        probs = self.prob_dropout(scores.softmax(dim=-1))  # (heads * batch, rows, keys)
        mixed = torch.bmm(probs.to(value.dtype), value).view(self.num_heads, batch, num_rows, -1)
        mixed = mixed.permute(1, 2, 0, 3).reshape(batch, num_rows, d_model)
        if around.sees is not None:
            mixed = mixed * around.sees
        out: Tensor = self.norm(rows + self.dropout(self.o(mixed)))
        return out

    def _by_head(self, tensor: Tensor) -> Tensor:
        """(batch, positions, d_model) -> (heads, batch, positions, d_head)."""
        batch, positions, _ = tensor.shape
        return tensor.view(batch, positions, self.num_heads, -1).permute(2, 0, 1, 3)

    def _content_queries(self, query: Tensor, around: Surroundings) -> Tensor:
        """(heads, batch, rows, d_head + NUM_SEGMENTS): for the content and the segment term."""
        scale = query.shape[-1] ** -0.5
        content = query + _bias(self.bias_content) * scale
        differs = (self.seg_key[1] - self.seg_key[0])[:, None, :, None]
        same = -torch.matmul(query + _bias(self.bias_segment) * scale, differs)
        return torch.cat([content, same * around.row_segments], dim=-1)

    def _position_scores(self, query: Tensor, around: Surroundings) -> Tensor:
        """(heads, batch, rows, offsets): every query with every distance.

        The batch is cut into one part a direction; a part shares its table, so its rows multiply
        it as one matrix.
        """
        heads, batch, num_rows, d_head = query.shape
        directions, offsets, _ = around.tables.shape
        rho = self._by_head(self.r(around.tables)).flatten(0, 1)  # (heads * directions, offsets, .)
        query = query + _bias(self.bias_position) * d_head**-0.5
        query = query.reshape(heads * directions, batch // directions * num_rows, d_head)
        return torch.bmm(query, rho.transpose(1, 2)).view(heads, batch, num_rows, offsets)


def _bias(vector: Tensor) -> Tensor:
    """(heads, d_head) -> (heads, 1, 1, d_head)."""
    return vector[:, None, None, :]


def _per_head(tensor: Tensor, num_heads: int) -> Tensor:
    """(batch, positions, features) -> (heads, batch, positions, features), memory shared."""
    return tensor.expand(num_heads, *tensor.shape)
