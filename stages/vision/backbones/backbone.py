"""What all networks can do: feature maps by stride, an embedding, logits."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from typing_extensions import override

from pipeline.errors import ConfigError
from stages.vision.backbones.specs import Common
from stages.vision.layers.classifier import Classifier

Tap = int | str
"""A feature map: a stride, for the last block's output at that stride (a residual sum; of a ResNet
v2 not yet normalised), or the name of another place:

- `head`: the map that is pooled.
- `expansion<stride>` (mobile networks): the expanded input of the first block that leaves this
  stride, behind its activation: C4 of SSDLite for `expansion16`.
- `depthwise<stride>` (mobile networks): the depthwise output, before squeeze-excite, of the last
  block at this stride: the low features of LR-ASPP for `depthwise8`.

With `output_stride` the places keep the names that they have without it, except that strides are
those of the maps: the last block's output is then that of the output stride.
"""


class Backbone(nn.Module, ABC):
    """An image network.

    Attributes:
        common: name and constants.
        channels: of each tap.
        num_features: length of an embedding, the classifier's input.
        classifier: last layer; replace it by `set_classifier`.
    """

    common: Common
    channels: Mapping[Tap, int]
    num_features: int
    classifier: Classifier

    def features(self, images: Tensor, taps: Iterable[Tap]) -> dict[Tap, Tensor]:
        """Feature maps; what no tap needs is not computed.

        Args:
            images: (batch, channels, height, width).
            taps: keys of `channels`.

        Returns:
            (batch, channels[tap], height / stride, width / stride) by tap, sizes rounded up.

        Raises:
            ConfigError: the network has no such tap.
        """
        wanted = list(taps)
        for tap in wanted:
            if tap not in self.channels:
                names = ", ".join(str(name) for name in self.channels)
                msg = f"{self.common.name} has no tap {tap!r}; it has: {names}"
                raise ConfigError(msg)
        return self._features(images, set(wanted))

    @abstractmethod
    def _features(self, images: Tensor, taps: set[Tap]) -> dict[Tap, Tensor]: ...

    @abstractmethod
    def final_map(self, images: Tensor) -> Tensor:
        """The map that is pooled."""

    def embed(self, images: Tensor) -> Tensor:
        """(batch, num_features): what the classifier sees, without dropout."""
        return self.final_map(images).mean((2, 3))

    @override
    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, classes) logits."""
        logits: Tensor = self.classifier(self.embed(images))
        return logits

    def set_classifier(self, num_classes: int) -> None:
        """Puts a freshly initialised classifier there; for another set of classes."""
        old = next(self.classifier.parameters())
        self.classifier = self.classifier.fresh(num_classes).to(old.device, old.dtype)
