"""Stochastic depth."""

from torch import Tensor, nn
from typing_extensions import override


class DropPath(nn.Module):
    """Drops a residual branch of an example whole, in training; the mean stays what it was.

    Source: Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(batch, ...), as it came."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    @override
    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_rates(rate: float, blocks: int) -> list[float]:
    """Of block i: rate * i / blocks, so 0 in the first and just below `rate` in the last."""
    return [rate * i / blocks for i in range(blocks)]
