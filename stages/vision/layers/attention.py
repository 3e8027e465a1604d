"""Attention-augmented convolution: some of a convolution's output maps come from self-attention.

Source: Bello et al. 2019, arXiv:1904.09925; where its listing and its tables of parameters differ,
the tables are followed (no biases, at least 20 key channels a head).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from pipeline.errors import ConfigError
from stages.vision.layers.convolution import Conv2d, Window

TableInit = Literal["centred", "listing"]
Form = Literal["auto", "fused", "product", "bias"]
"""How the same numbers are computed:

- `fused`: the position logits inside the product of queries and keys, through one-hot columns of
  the keys, in a fused kernel: no (positions, positions) tensor.
- `product`: two matrix products around a softmax, position logits added between them.
- `bias`: position logits added to the content's, one matrix for each head; what costs are counted
  by.
- `auto`: `product` on a CPU for maps of at most 64 positions, where it takes two thirds of the
  time; else `fused`.
"""

_FEW_POSITIONS = 64


@dataclass(frozen=True)
class Heads:
    """Shape of an attention.

    Attributes:
        keys: channels of all keys, a multiple of `number`.
        values: channels of all values, a multiple of `number`.
        number: of heads.
        relative: whether positions enter.
        table_init: how position tables begin.
    """

    keys: int
    values: int
    number: int
    relative: bool = True
    table_init: TableInit = "centred"


def attention_widths(
    out_channels: int, kappa: float, upsilon: float, heads: int, min_head: int = 20
) -> tuple[int, int]:
    """(channels of keys, channels of values); both divide by `heads`.

    The least number of key channels holds for ImageNet networks too: only with it do the published
    numbers of parameters come out.
    """
    # 0.1 * 480 is 48.00000000000001, and 0.7 * 10 is 6.999...: products of decimals are near whole
    # numbers that are meant.
    keys = heads * int(kappa * out_channels / heads + 1e-9)
    values = heads * int(upsilon * out_channels / heads + 1e-9)
    return max(keys, min_head * heads), values


class RelativeAttention(nn.Module):
    """Multi-head self-attention over all positions of a map.

    logit[i, j] = (q_i . k_j + q_i . row[y_j - y_i] + q_i . column[x_j - x_i]) / sqrt(d), softmax
    over j. The tables are shared by the heads: (2 (height + width) - 2) * d parameters. A map
    smaller than the grid uses the middle of the tables: the same offsets, the same rows.

    Args:
        heads: the shape.
        grid: (height, width) of the largest map.
    """

    def __init__(self, heads: Heads, grid: tuple[int, int], form: Form = "auto"):
        super().__init__()
        self.heads, self.form = heads, form
        self.grid = grid
        width = heads.keys // heads.number
        self.rows: nn.Parameter | None = None
        self.columns: nn.Parameter | None = None
        if heads.relative:
            self.rows, self.columns = (nn.Parameter(torch.empty(2 * n - 1, width)) for n in grid)
            for table in (self.rows, self.columns):
                if heads.table_init == "centred":
                    nn.init.normal_(table, 0.0, width**-0.5)
                else:
                    nn.init.normal_(table, width**-0.5, 1.0)

    @override
    def forward(self, kqv: Tensor) -> Tensor:
        """(batch, keys + keys + values, height, width), in this order -> (batch, values, ...)."""
        batch, _, height, width = kqv.shape
        heads = self.heads
        # (batch, positions, channels): a view of a channels_last map.
        flat = kqv.flatten(2).transpose(1, 2)
        parts = torch.split(flat, [heads.keys, heads.keys, heads.values], dim=-1)
        key, query, value = (
            part.view(batch, height * width, heads.number, -1).transpose(1, 2) for part in parts
        )  # (batch, heads, positions, channels of a head)
        mixed = self._attend(query, key, value, (height, width))
        return mixed.transpose(2, 3).reshape(batch, heads.values, height, width)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, size: tuple[int, int]) -> Tensor:
        scale = query.shape[-1] ** -0.5
        if self.rows is None or self.columns is None:
            return _fused(query, key, value, scale)
        by_row, by_column = self.position_products(query, size)
        form = self._chosen(query)
        if form == "bias":
            bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(-2) * scale
            return functional.scaled_dot_product_attention(query, key, value, bias, scale=scale)
        height, width = size
        if form == "product":
            logits = torch.matmul(query, key.transpose(-1, -2))
            logits = logits.view(*logits.shape[:-1], height, width)
            logits = logits.add_(by_row[..., :, None]).add_(by_column[..., None, :]).mul_(scale)
            return torch.matmul(logits.flatten(-2).softmax(dim=-1), value)
        places = torch.cat(
            [
                torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, 0),
                torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1),
            ],
            dim=1,
        )  # (positions, height + width)
        query = torch.cat([query, by_row, by_column], dim=-1)
        key = torch.cat([key, places.expand(*key.shape[:-1], -1)], dim=-1)
        return _fused(query, key, value, scale)

    def _chosen(self, query: Tensor) -> Form:
        if self.form != "auto":
            return self.form
        # Half precision has its softmax in float32 inside the kernel alone.
        exact = query.dtype in {torch.float32, torch.float64}
        few = query.shape[-2] <= _FEW_POSITIONS and query.device.type == "cpu"
        return "product" if few and exact else "fused"

    def position_products(self, query: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Products of queries with the tables, not scaled.

        Args:
            query: (batch, heads, positions, channels).
            size: (height, width) of the map.

        Returns:
            (batch, heads, positions, height) and (batch, heads, positions, width): of each query
            with each row and each column of keys.
        """
        rows, columns = self._tables(size)
        query = query.view(*query.shape[:2], *size, -1)  # (batch, heads, height, width, channels)
        by_row = torch.einsum("bnyxd,yjd->bnyxj", query, rows)
        by_column = torch.einsum("bnyxd,xjd->bnyxj", query, columns)
        return by_row.flatten(2, 3), by_column.flatten(2, 3)

    def _tables(self, size: tuple[int, int]) -> list[Tensor]:
        """(n, n, channels) for either axis; [i, j] belongs to the offset j - i."""
        result = []
        for table, grid, n in zip((self.rows, self.columns), self.grid, size, strict=True):
            assert table is not None  # asked for only where positions enter
            if n > grid:
                msg = (
                    f"a map of {size[0]} x {size[1]} positions, but position tables for "
                    f"{self.grid[0]} x {self.grid[1]}; give attention: {{image_size: ...}} to the "
                    "network, or resize_tables"
                )
                raise ConfigError(msg)
            places = torch.arange(n, device=table.device)
            result.append(table[places[None, :] - places[:, None] + grid - 1])
        return result

    @torch.no_grad()
    def resize_tables(self, grid: tuple[int, int]) -> None:
        """Makes tables for another grid: offsets are stretched, offset 0 stays in the middle."""
        if self.rows is not None and self.columns is not None:
            self.rows = nn.Parameter(_stretched(self.rows, grid[0]))
            self.columns = nn.Parameter(_stretched(self.columns, grid[1]))
        self.grid = grid


def _fused(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attention; values are padded, since the fused kernels take them as wide as keys only."""
    width = value.shape[-1]
    value = functional.pad(value, (0, key.shape[-1] - width))
    mixed = functional.scaled_dot_product_attention(query, key, value, scale=scale)
    return mixed[..., :width]


def _stretched(table: Tensor, length: int) -> Tensor:
    """Interpolates (2 L - 1, channels) linearly to (2 * length - 1, channels)."""
    return functional.interpolate(
        table.T[None], size=2 * length - 1, mode="linear", align_corners=True
    )[0].T.contiguous()


class AAConv2d(nn.Module):
    """concat(convolution, attention) with `out_channels` in all, the convolution's first.

    Attention takes the input averaged by the stride; where it is `pooled` it works on a map of half
    the size, and what it gives is scaled up to the convolution's.

    Args:
        in_channels: of the input.
        out_channels: of both parts together.
        window: of the convolution.
        heads: shape of the attention.
        grid: (height, width) of the largest map that attention works on.
        pooled: whether it works on half the size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        window: Window,
        *,
        heads: Heads,
        grid: tuple[int, int],
        pooled: bool = False,
    ):
        super().__init__()
        self.stride, self.pooled = window.stride, pooled
        own = out_channels - heads.values
        self.conv = Conv2d(in_channels, own, window) if own else None
        self.kqv: Conv2d | None = None
        if heads.values:
            one = Window(1)
            self.kqv = Conv2d(in_channels, 2 * heads.keys + heads.values, one)
            self.attention = RelativeAttention(heads, grid)
            self.project = Conv2d(heads.values, heads.values, one)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height', width')."""
        parts: list[Tensor] = []
        if self.conv is not None:
            parts.append(self.conv(x))
        if self.kqv is not None:
            size = [-(-n // self.stride) for n in x.shape[-2:]]
            parts.append(self._attended(x, self.kqv, size))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _attended(self, x: Tensor, kqv: Conv2d, size: Sequence[int]) -> Tensor:
        if self.stride > 1:
            x = _halved(x)
        if self.pooled:
            x = _halved(x)
        y: Tensor = self.project(self.attention(kqv(x)))
        if self.pooled:
            y = functional.interpolate(y, size=size, mode="bilinear", align_corners=False)
        return y


def _halved(x: Tensor) -> Tensor:
    """The mean of 3x3 neighbours at every other position; beyond the border is not counted."""
    return functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
