"""Squeeze and excitation: channels weighed by what the whole map holds."""

import math

from torch import Tensor, nn
from typing_extensions import override

from stages.vision.layers.activations import activation_function
from stages.vision.layers.shapes import Activation


class SqueezeExcite(nn.Module):
    """x * gate(expand(act(reduce(mean over positions of x)))).

    Both maps see one position, so they are matrix products, not convolutions.

    Source: Hu et al. 2018, arXiv:1709.01507; places and widths are those of the network.
    """

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation):
        super().__init__()
        self.reduce = nn.Linear(channels, squeezed)
        self.expand = nn.Linear(squeezed, channels)
        self.activation = activation_function(activation)
        self.gate = activation_function(gate)
        for layer in (self.reduce, self.expand):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / layer.out_features))
            nn.init.zeros_(layer.bias)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width), as it came."""
        weights: Tensor = self.expand(self.activation(self.reduce(x.mean((2, 3)))))
        return x * self.gate(weights)[:, :, None, None]
