"""Relative positions: the sinusoid table, and the shift from offsets to keys."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override


def sinusoids(offsets: Tensor, d_model: int) -> Tensor:
    """R(offset) = [sin(offset * f), cos(offset * f)], f_t = 10000^(-2t / d_model).

    Args:
        offsets: (rows,) relative distances, any dtype.
        d_model: width, even.

    Returns:
        (rows, d_model) float32, or float64 for float64 offsets: sines first, then cosines. Lower
        precision would blur offsets above 256.

    Source: Dai et al. 2019, arXiv:1901.02860, section 3.3.
    """
    dtype = torch.float64 if offsets.dtype == torch.float64 else torch.float32
    exponents = torch.arange(0, d_model, 2, device=offsets.device, dtype=dtype) / d_model
    angles = offsets.to(dtype)[:, None] * torch.pow(10000.0, -exponents)[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def position_tables(
    num_keys: int, length: int, d_model: int, *, bidirectional: bool, like: Tensor
) -> Tensor:
    """The sinusoids of every distance between a query and a key.

    Args:
        num_keys: memory and current positions.
        length: current positions, at the end of the keys.
        d_model: width.
        bidirectional: also gives the table of rows that hold reversed text.
        like: gives device and dtype.

    Returns:
        (directions, num_keys + length - 1, d_model): row r is the distance num_keys - 1 - r,
        positive where the key lies to the left; in the second direction its negative.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    offsets = torch.arange(num_keys - 1, -length, -1, device=like.device, dtype=dtype)
    table = sinusoids(offsets, d_model)
    tables = [table, sinusoids(-offsets, d_model)] if bidirectional else [table]
    return torch.stack(tables).to(like.dtype)


class MaskedShift(torch.autograd.Function):
    """Takes each query's scores by offset to scores by key, and adds the mask.

    out[h, b, i, j] = scores[h, b, i, length - 1 - position_i + j] + mask[b, i, j]

    Content rows have position i: their shift is one strided view, with no index and no padding.
    """

    @staticmethod
    @override
    def forward(ctx: Any, scores: Tensor, mask: Tensor, targets: Tensor | None) -> Tensor:
        """Shifts.

        Args:
            ctx: autograd's.
            scores: (heads, batch, rows, keys + length - 1), contiguous.
            mask: (batch, rows, keys) of the same dtype, no gradient.
            targets: (batch, targets) position of the last rows; None when all are content rows.

        Returns:
            (heads, batch, rows, keys).
        """
        num_keys = mask.shape[-1]
        num_targets = 0 if targets is None else targets.shape[1]
        num_content = scores.shape[2] - num_targets
        ctx.shape, ctx.num_content = scores.shape, num_content
        out = scores.new_empty(*scores.shape[:3], num_keys)
        if num_content:
            view = _content_view(scores, num_content, num_keys)
            torch.add(view, mask[:, :num_content], out=out[:, :, :num_content])
        if targets is not None:
            index = _target_columns(targets, scores.shape, num_keys)
            ctx.save_for_backward(index)
            gathered = scores[:, :, num_content:].gather(3, index)
            torch.add(gathered, mask[:, num_content:], out=out[:, :, num_content:])
        return out

    @staticmethod
    @once_differentiable
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Puts each gradient back to where its score came from."""
        (grad,) = grads
        num_content = ctx.num_content
        back = grad.new_zeros(ctx.shape)
        if num_content:
            _content_view(back, num_content, grad.shape[3]).copy_(grad[:, :, :num_content])
        if ctx.saved_tensors:
            (index,) = ctx.saved_tensors
            back[:, :, num_content:].scatter_(3, index, grad[:, :, num_content:])
        return back, None, None


def _content_view(scores: Tensor, length: int, num_keys: int) -> Tensor:
    """(heads, batch, length, keys): row i of `scores`, from its column length - 1 - i on."""
    heads, batch, rows, offsets = scores.shape
    return scores.as_strided(
        (heads, batch, length, num_keys),
        (batch * rows * offsets, rows * offsets, offsets - 1, 1),
        scores.storage_offset() + length - 1,
    )


def _target_columns(targets: Tensor, shape: torch.Size, num_keys: int) -> Tensor:
    """(heads, batch, targets, keys) columns of the scores by offset; heads share the memory."""
    first = shape[3] - num_keys - targets  # length - 1 - position
    columns = first[:, :, None] + torch.arange(num_keys, device=targets.device)
    return columns.expand(shape[0], -1, -1, -1)
