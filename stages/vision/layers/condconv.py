"""Conditionally parameterised convolution: an example's kernel is a mixture of experts' kernels.

Source: Yang et al. 2019, arXiv:1904.04971, and its released code.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from stages.vision.layers.convolution import Window, convolve, he_fan_out_
from stages.vision.layers.precision import full_precision

Form = Literal["auto", "loop", "grouped", "gemm", "mixture"]
"""How the same numbers are computed:

- `loop`: a convolution an example.
- `grouped`: one convolution with the examples side by side as groups.
- `gemm`: one batched matrix product; taps gathered first where the kernel is larger than 1x1.
- `mixture`: a convolution with all experts, then the mixture of their outputs.
- `auto`: by measurement on CPUs (a GPU's is by reckoning): `grouped` for depthwise kernels, `gemm`
  for 1x1 ones; for larger ones `loop` with one example, else `gemm`, or on a GPU `grouped`, since
  gathering taps takes kernel^2 times the memory.
"""


class Router(nn.Module):
    """sigmoid(linear(mean over positions)): how much of each expert an example takes.

    The weights of an example lie in (0, 1) and sum to anything. They are float32 whatever the
    activations are, since they scale whole kernels.

    Args:
        channels: of the block's input.
        experts: number of weights.
        dropout: probability that an expert is left out of an example, the others scaled up.
    """

    def __init__(self, channels: int, experts: int, *, dropout: float = 0.0):
        super().__init__()
        self.linear = nn.Linear(channels, experts)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels) or (batch, channels, height, width) -> (batch, experts)."""
        pooled = x if x.ndim == 2 else x.mean((2, 3))
        with full_precision(x.device):
            dtype = self.linear.weight.dtype
            weights: Tensor = self.dropout(self.linear(pooled.to(dtype)).sigmoid())
        return weights


class CondLinear(nn.Module):
    """A linear layer of experts, each with a bias; weights and bias are mixed alike.

    As `mixture` (all experts applied, then mixed: what mixing alone would cost) or `gemm`.
    """

    def __init__(self, in_features: int, out_features: int, experts: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(experts, out_features))
        bound = out_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.form: Literal["mixture", "gemm"] = "mixture"

    @override
    def forward(self, x: Tensor, routing: Tensor) -> Tensor:
        """(batch, in), (batch, experts) -> (batch, out)."""
        experts, out_features, in_features = self.weight.shape
        if self.form == "gemm":
            weight, bias = self.merged(routing)
            return torch.bmm(weight.to(x.dtype), x[:, :, None]).squeeze(2) + bias.to(x.dtype)
        every = functional.linear(x, self.weight.view(experts * out_features, in_features))
        every = every.view(-1, experts, out_features)  # (batch, experts, out)
        routing = routing.to(every.dtype)
        mixed = torch.bmm(routing[:, None], every + self.bias.to(every.dtype))
        return mixed.squeeze(1)

    def merged(self, routing: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, experts) -> weights (batch, out, in) and biases (batch, out)."""
        with full_precision(routing.device):
            routing = routing.to(self.weight.dtype)
            weight = routing @ self.weight.flatten(1)
            return weight.view(-1, *self.weight.shape[1:]), routing @ self.bias


class CondConv2d(nn.Module):
    """A convolution whose kernel is sum_i routing_i * weight_i, per example.

    `weight` is (experts, out, in / groups * kernel * kernel); `experts` is a view of it by kernel.
    Each expert is initialised as a single kernel is.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        window: kernel size, stride, dilation, padding.
        groups: 1, or `in_channels` for a depthwise convolution.
        experts: number of kernels.
        form: how it is computed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        window: Window,
        *,
        experts: int,
        groups: int = 1,
        form: Form = "auto",
    ):
        super().__init__()
        self.window, self.groups, self.form = window, groups, form
        self.kernel_shape = (out_channels, in_channels // groups, window.kernel, window.kernel)
        # Not five dimensions: `net.to(memory_format=torch.channels_last)` would fail on them.
        self.weight = nn.Parameter(
            torch.empty(experts, out_channels, math.prod(self.kernel_shape[1:]))
        )
        for expert in self.experts:
            he_fan_out_(expert, groups)

    @property
    def experts(self) -> Tensor:
        """(experts, out, in / groups, kernel, kernel)."""
        return self.weight.view(-1, *self.kernel_shape)

    @override
    def forward(self, x: Tensor, routing: Tensor) -> Tensor:
        """(batch, in, height, width), (batch, experts) -> (batch, out, height', width')."""
        form = self._chosen(x) if self.form == "auto" else self.form
        if form == "mixture":
            return self._mixture(x, routing)
        kernels = self.kernels(routing)
        if x.dtype != kernels.dtype:
            kernels = kernels.to(x.dtype)
        if form == "loop":
            pairs = zip(torch.split(x, 1), kernels, strict=True)
            return torch.cat([convolve(a, k, None, self.window, self.groups) for a, k in pairs])
        if form == "grouped":
            return self._grouped(x, kernels)
        return self._gemm(x, kernels)

    def kernels(self, routing: Tensor) -> Tensor:
        """(batch, experts) -> (batch, out, in / groups, kernel, kernel)."""
        with full_precision(routing.device):
            mixed = routing.to(self.weight.dtype) @ self.weight.flatten(1)
        return mixed.view(-1, *self.kernel_shape)

    def _chosen(self, x: Tensor) -> Form:
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return "gemm"  # the others have the batch size in a number of groups or of calls
        if self.groups > 1:
            return "grouped"
        if self.window.kernel == 1:
            return "gemm"
        if x.shape[0] == 1:
            return "loop"
        return "gemm" if x.device.type == "cpu" else "grouped"

    def _grouped(self, x: Tensor, kernels: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side_by_side = x.reshape(1, batch * channels, height, width)
        y = convolve(side_by_side, kernels.flatten(0, 1), None, self.window, batch * self.groups)
        return y.view(batch, -1, y.shape[-2], y.shape[-1])

    def _gemm(self, x: Tensor, kernels: Tensor) -> Tensor:
        window = self.window
        height, width = (-(-n // window.stride) for n in x.shape[-2:])
        if self.groups > 1:
            return self._shifted(x, kernels, height, width)
        if window.kernel == 1:
            x = x[:, :, :: window.stride, :: window.stride]
            columns = x.flatten(2)
        else:
            padded = functional.pad(x, window.pads(x.shape[-2], x.shape[-1]))
            columns = functional.unfold(
                padded, window.kernel, window.dilation, stride=window.stride
            )
        y = torch.bmm(kernels.flatten(2), columns)  # (batch, out, positions)
        return y.view(x.shape[0], -1, height, width)

    def _shifted(self, x: Tensor, kernels: Tensor, height: int, width: int) -> Tensor:
        """Depthwise: the sum over taps of the shifted map times the tap of each channel."""
        window = self.window
        padded = functional.pad(x, window.pads(x.shape[-2], x.shape[-1]))
        rows, columns = (window.stride * (n - 1) + 1 for n in (height, width))
        total: Tensor | None = None
        for i in range(window.kernel):
            for j in range(window.kernel):
                top, left = i * window.dilation, j * window.dilation
                seen = padded[:, :, top : top + rows, left : left + columns]
                seen = seen[:, :, :: window.stride, :: window.stride]
                part = seen * kernels[:, :, 0, i, j, None, None]
                total = part if total is None else total + part
        assert total is not None  # a kernel has a tap
        return total

    def _mixture(self, x: Tensor, routing: Tensor) -> Tensor:
        experts = self.weight.shape[0]
        if self.groups == 1:
            y = convolve(x, self.experts.flatten(0, 1), None, self.window)
            y = y.view(x.shape[0], experts, -1, *y.shape[-2:])
        else:
            # Expert e of channel c sees channel c, so experts come one after another.
            each = [convolve(x, w, None, self.window, self.groups) for w in self.experts]
            y = torch.stack(each, dim=1)
        return torch.einsum("be,beohw->bohw", routing.to(y.dtype), y)

    @override
    def extra_repr(self) -> str:
        out, inputs, kernel, _ = self.kernel_shape
        experts = self.weight.shape[0]
        return f"{inputs * self.groups}, {out}, experts={experts}, kernel={kernel}, {self.form}"
