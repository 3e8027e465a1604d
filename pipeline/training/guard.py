"""A step's numbers, kept on the device until somebody looks, and the watch for those that are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import Diverged
from pipeline.training.world import TrainingWorld

_NEVER = float(1 << 53)


class NotFinite(Diverged):
    """Met NaN or infinity; `what` says in what."""

    def __init__(self, what: Literal["loss", "gradient"], message: str) -> None:
        super().__init__(message)
        self.what = what


@dataclass(frozen=True)
class Seen:
    """The numbers of one step over all micro-batches and ranks.

    Attributes:
        loss: sum of the loss over its terms, by the weight.
        scores: the method's scores by the weight.
        grad_norm: global norm before clipping; None where it was not computed.
    """

    loss: float
    scores: dict[str, float]
    grad_norm: float | None


class StepNumbers:
    """Collects without a host synchronisation; `look` costs one, and a small gather."""

    def __init__(self, device: torch.device, *, norm_may_overflow: bool) -> None:
        """`norm_may_overflow`: a loss scaler skips such steps, so they are no divergence."""
        self._norm_may_overflow = norm_may_overflow
        self._names: tuple[str, ...] = ()
        self._sums: list[Tensor] = []
        self._norm: Tensor | None = None
        self._never = torch.full((), _NEVER, dtype=torch.float64, device=device)
        self._first_bad = self._never.clone()

    def begin(self) -> None:
        """Forgets the sums of the step before."""
        self._names, self._sums, self._norm = (), [], None

    def add(self, total: Tensor, scores: Mapping[str, Tensor]) -> None:
        """Takes in one micro-batch."""
        values = [total.detach(), *(score.detach() for score in scores.values())]
        if self._sums:
            values = [old + new for old, new in zip(self._sums, values, strict=True)]
        self._names, self._sums = tuple(scores), values

    def end(self, step: int, norm: Tensor | None) -> None:
        """Closes step number `step`, counted from 1."""
        self._norm = norm
        bad = torch.where(torch.isfinite(self._sums[0]), self._never, float(step))
        if norm is not None and not self._norm_may_overflow:
            # Half a step later: a loss that is none is the cause, the gradient only follows.
            norm_is_bad = torch.where(torch.isfinite(norm), self._never, step + 0.5)
            bad = torch.minimum(bad, norm_is_bad)
        self._first_bad = torch.minimum(self._first_bad, bad)

    def look(self, world: TrainingWorld, global_weight: float) -> Seen:
        """Waits for the device and joins the ranks; called by all of them.

        Raises:
            NotFinite: as `check`.
        """
        norm = [] if self._norm is None else [self._norm]
        ranks = self._fetch(world, [*self._sums, *norm])
        means = ranks[:, : len(self._sums)].sum(axis=0) / global_weight
        return Seen(
            loss=float(means[0]),
            scores=dict(zip(self._names, means[1:].tolist(), strict=True)),
            grad_norm=float(ranks[0, -1]) if norm else None,
        )

    def check(self, world: TrainingWorld) -> None:
        """Looks only whether all was finite; called by all ranks.

        Raises:
            NotFinite: names the first step, of all since the attempt began, whose loss or gradient
                was not, and the rank whose loss it was.
        """
        self._fetch(world, [])

    def _fetch(self, world: TrainingWorld, values: list[Tensor]) -> NDArray[np.float64]:
        mine = torch.stack([value.double() for value in (self._first_bad, *values)]).tolist()
        ranks = world.gather(mine)
        step, rank = float(ranks[:, 0].min()), int(ranks[:, 0].argmin())
        if step < _NEVER:
            if step.is_integer():
                raise NotFinite(
                    "loss", f"the loss of rank {rank} is not finite at step {int(step)}"
                )
            raise NotFinite("gradient", f"the gradient is not finite at step {int(step)}")
        return ranks[:, 1:]
