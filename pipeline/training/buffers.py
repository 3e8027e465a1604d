"""What a forward pass changes in a model beside its gradients: running statistics of norms."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.training.optim import AVERAGE, WeightAverage


class RunningBuffers:
    """The buffers of a model that a checkpoint holds, and their averages where weights have some.

    Rank 0's count: a value that every rank keeps for itself could not be restored elsewhere.

    Attributes:
        live: name -> buffer, shared with the model.
        saved: the same, and the averages under names of their own: what a checkpoint holds.
    """

    def __init__(self, model: nn.Module, ema_decay: float | None) -> None:
        """`ema_decay`: None keeps no averages."""
        names = model.state_dict(keep_vars=True).keys()
        self.live = {name: buffer for name, buffer in model.named_buffers() if name in names}
        self.saved: Mapping[str, Tensor] = self.live
        self._average: WeightAverage | None = None
        floats = {n: b for n, b in self.live.items() if b.is_floating_point()}
        if ema_decay is not None and floats:
            averages = {name: buffer.detach().clone() for name, buffer in floats.items()}
            self._average = WeightAverage(list(floats.values()), list(averages.values()), ema_decay)
            self.saved = self.live | {f"{AVERAGE}:{name}": t for name, t in averages.items()}

    def update(self, step: int) -> None:
        """Takes the statistics after `step` updates into the averages."""
        if self._average is not None:
            self._average.update(step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averages in place of the statistics, where there are any."""
        if self._average is None:
            yield
            return
        with torch.no_grad():
            self._average.swap()
        try:
            yield
        finally:
            self._average.swap()
