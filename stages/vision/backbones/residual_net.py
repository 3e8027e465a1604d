"""ResNets of both versions, with experts or attention where the specification says so."""

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from stages.vision.backbones.backbone import Backbone, Tap
from stages.vision.backbones.making import attended_conv, conv_of, norm_of
from stages.vision.backbones.specs import Attended, ResidualBlock, ResidualSpec
from stages.vision.layers.classifier import Classifier
from stages.vision.layers.condconv import CondConv2d, Router
from stages.vision.layers.convolution import Conv2d, Window
from stages.vision.layers.drop_path import DropPath, drop_rates


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, and a shortcut.

    Version 1 is relu(shortcut(x) + norm(conv(... relu(norm(conv(x)))))), version 2
    shortcut + conv(relu(norm(... conv(relu(norm(x)))))).

    Attributes:
        convs: in order.
        norms: in order; version 2's normalise the input of the convolution of the same index.
        shortcut: 1x1 convolution; None for the identity, or for zeros behind averaged input.
        shortcut_norm: of version 1's shortcut.
        router: mixes the experts; None where convolutions are plain.
    """

    def __init__(self, spec: ResidualSpec, block: ResidualBlock, stride: int, drop_path: float):
        super().__init__()
        common, experts = spec.common, block.experts
        self.version, self.raw_shortcut = spec.version, spec.raw_shortcut
        self.stride, self.out = block.stride, block.out
        self.router = (
            Router(block.width, experts, dropout=common.expert_dropout) if experts else None
        )
        first = Window(3, block.stride, block.dilation, common.padding)
        if spec.bottleneck:
            windows = [Window(1), first, Window(1)]
            widths = [block.width, block.inner, block.inner, block.out]
        else:
            windows = [first, Window(3, 1, block.inner_dilation, common.padding)]
            widths = [block.width, block.inner, block.out]
        self.convs = nn.ModuleList(
            conv_of(a, b, window, experts=experts)
            for a, b, window in zip(widths[:-1], widths[1:], windows, strict=True)
        )
        if block.attended and common.attended is not None:
            i = 1 if spec.bottleneck else 0
            self.convs[i] = _attended(
                (widths[i], widths[i + 1]), windows[i], common.attended, block, stride
            )
        norm = norm_of(common)
        self.norms = nn.ModuleList(
            norm(c) for c in (widths[1:] if self.version == 1 else widths[:-1])
        )
        self.shortcut: nn.Module | None = None
        self.shortcut_norm: nn.BatchNorm2d | None = None
        if block.projected:
            shortcut_experts = experts if block.conditional_shortcut else 0
            window = Window(1, block.stride, 1, common.padding)
            self.shortcut = conv_of(block.width, block.out, window, experts=shortcut_experts)
            if self.version == 1:
                self.shortcut_norm = norm(block.out)
        self.drop_path = DropPath(drop_path) if drop_path else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, height, width) -> (batch, out, height', width')."""
        routing = None if self.router is None else self.router(x)
        return self._first(x, routing) if self.version == 1 else self._second(x, routing)

    def _first(self, x: Tensor, routing: Tensor | None) -> Tensor:
        y, last = x, len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(_apply(conv, y, routing))
            if i < last:
                y = functional.relu(y, inplace=True)
        if self.drop_path is not None:
            y = self.drop_path(y)
        y += self._identity(x, x, routing)
        return functional.relu(y, inplace=True)

    def _second(self, x: Tensor, routing: Tensor | None) -> Tensor:
        y, active = x, x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = functional.relu(norm(y), inplace=True)
            if i == 0:
                active = y
            y = _apply(conv, y, routing)
        if self.drop_path is not None:
            y = self.drop_path(y)
        return y + self._identity(x, active, routing)

    def _identity(self, x: Tensor, active: Tensor, routing: Tensor | None) -> Tensor:
        """The shortcut; `active` is what version 2's first convolution sees."""
        if self.shortcut is not None:
            y = _apply(self.shortcut, x if self.raw_shortcut else active, routing)
            return y if self.shortcut_norm is None else self.shortcut_norm(y)
        if self.stride > 1:
            x = functional.avg_pool2d(x, self.stride, ceil_mode=True)
        missing = self.out - x.shape[1]
        if missing:
            x = functional.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))
        return x


def _apply(conv: nn.Module, x: Tensor, routing: Tensor | None) -> Tensor:
    y: Tensor = conv(x, routing) if isinstance(conv, CondConv2d) else conv(x)
    return y


def _attended(
    widths: tuple[int, int],
    window: Window,
    attended: Attended,
    block: ResidualBlock,
    stride: int,
) -> nn.Module:
    return attended_conv(
        *widths, window, attended, stride=stride * block.stride, pooled=block.attends_pooled
    )


class ResNet(Backbone):
    """Stem, stages, (version 2: normalisation,) pool, classifier.

    Attributes:
        spec: the numbers.
        stem: first convolution.
        stem_norm: of version 1.
        stages: each a ModuleList of `Residual`s.
        final_norm: of version 2.
    """

    def __init__(self, spec: ResidualSpec, *, num_classes: int, in_channels: int):
        super().__init__()
        self.spec, self.common = spec, spec.common
        norm = norm_of(spec.common)
        whole = spec.stem == "imagenet"
        window = Window(7, 2, 1, spec.common.padding) if whole else Window(3)
        self.stem = Conv2d(in_channels, spec.stem_width, window)
        self.stem_norm = norm(spec.stem_width) if spec.version == 1 else None
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if whole else None
        blocks = [block for stage in spec.stages for block in stage]
        rates = iter(drop_rates(spec.common.drop_path, len(blocks)))
        stride = 4 if whole else 1
        self.stages = nn.ModuleList()
        self.channels = {}
        self._places: dict[Tap, int] = {}
        for i, stage in enumerate(spec.stages):
            made = nn.Sequential()
            for block in stage:
                made.append(Residual(spec, block, stride, next(rates)))
                stride *= block.stride
            self.stages.append(made)
            self.channels[stride] = stage[-1].out
            self._places[stride] = i
        self.num_features = spec.stages[-1][-1].out
        self.channels["head"] = self.num_features
        self.final_norm = norm(self.num_features) if spec.version == 2 else None
        self.classifier = Classifier(
            self.num_features,
            num_classes,
            dropout=spec.common.dropout,
            experts=spec.common.conditional_classifier,
            expert_dropout=spec.common.expert_dropout,
        )

    def stem_map(self, images: Tensor) -> Tensor:
        """What the first stage sees."""
        x: Tensor = self.stem(images)
        if self.stem_norm is not None:
            x = functional.relu(self.stem_norm(x), inplace=True)
        return x if self.pool is None else self.pool(x)

    @override
    def final_map(self, images: Tensor) -> Tensor:
        x = self.stem_map(images)
        for stage in self.stages:
            x = stage(x)
        return self._normed(x)

    def _normed(self, x: Tensor) -> Tensor:
        return x if self.final_norm is None else functional.relu(self.final_norm(x), inplace=True)

    @override
    def _features(self, images: Tensor, taps: set[Tap]) -> dict[Tap, Tensor]:
        at = {self._places[tap]: tap for tap in taps if tap != "head"}
        last = len(self.stages) if "head" in taps else max(at, default=-1) + 1
        x, found = self.stem_map(images), {}
        for i, stage in enumerate(self.stages[:last]):
            x = stage(x)
            if i in at:
                found[at[i]] = x
        if "head" in taps:
            found["head"] = self._normed(x)
        return found
