"""Networks of inverted residual blocks: MobileNets, MnasNet, EfficientNet."""

from torch import Tensor, nn
from typing_extensions import override

from stages.vision.backbones.backbone import Backbone, Tap
from stages.vision.backbones.making import attended_conv, conv_of, norm_of
from stages.vision.backbones.specs import MobileBlock, MobileSpec
from stages.vision.layers.activations import activation_function
from stages.vision.layers.classifier import Classifier
from stages.vision.layers.condconv import Router
from stages.vision.layers.convolution import Conv2d, ConvNorm, Window
from stages.vision.layers.drop_path import DropPath, drop_rates
from stages.vision.layers.squeeze_excite import SqueezeExcite


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, squeeze and excite, project, add.

    Attributes:
        expand: 1x1 convolution; None where the block does not expand.
        depthwise: convolution of each channel.
        squeeze_excite: None where the block has none.
        project: 1x1 convolution.
        router: mixes the experts of all three; None where they are plain.
    """

    def __init__(self, spec: MobileSpec, block: MobileBlock, stride: int, drop_path: float):
        super().__init__()
        common, experts, inner = spec.common, block.experts, block.expanded
        norm, one = norm_of(common), Window(1)
        self.residual = block.residual
        self.router = (
            Router(block.width, experts, dropout=common.expert_dropout) if experts else None
        )
        self.expand: ConvNorm | None = None
        if inner != block.width:
            conv = (
                attended_conv(block.width, inner, one, common.attended, stride=stride)
                if block.attended and common.attended is not None
                else conv_of(block.width, inner, one, experts=experts)
            )
            self.expand = ConvNorm(conv, norm(inner), block.activation)
        window = Window(block.kernel, block.stride, block.dilation, common.padding)
        depthwise = conv_of(inner, inner, window, groups=inner, experts=experts)
        self.depthwise = ConvNorm(depthwise, norm(inner), block.activation)
        self.squeeze_excite: SqueezeExcite | None = None
        if block.squeezed:
            self.squeeze_excite = SqueezeExcite(
                inner, block.squeezed, spec.squeeze_activation, spec.gate
            )
        self.project = ConvNorm(
            conv_of(inner, block.out, one, experts=experts),
            norm(block.out),
            block.activation if block.activates_output else "identity",
        )
        self.drop_path = DropPath(drop_path) if drop_path and block.residual else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, height, width) -> (batch, out, height', width')."""
        return self.with_inner_maps(x)[0]

    def expanded(self, x: Tensor) -> Tensor:
        """The map that the depthwise convolution sees."""
        routing = None if self.router is None else self.router(x)
        return x if self.expand is None else self.expand(x, routing)

    def with_inner_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and the depthwise output before squeeze-excite."""
        routing = None if self.router is None else self.router(x)
        y = x if self.expand is None else self.expand(x, routing)
        inner: Tensor = self.depthwise(y, routing)
        y = inner if self.squeeze_excite is None else self.squeeze_excite(inner)
        y = self.project(y, routing)
        if self.drop_path is not None:
            y = self.drop_path(y)
        return (x + y if self.residual else y), inner


class MobileNet(Backbone):
    """Stem, blocks, 1x1 convolution, pool, hidden layer, classifier; what the spec has of them.

    Attributes:
        spec: the numbers.
        stem: first convolution.
        blocks: all blocks in order.
        head: 1x1 convolution; None where the network has none.
        head_router: of a head of experts.
        hidden: layer behind the pool; None where the network has none.
    """

    def __init__(self, spec: MobileSpec, *, num_classes: int, in_channels: int):
        super().__init__()
        self.spec, self.common = spec, spec.common
        norm = norm_of(spec.common)
        window = Window(3, spec.stem_stride, 1, spec.common.padding)
        self.stem = ConvNorm(
            Conv2d(in_channels, spec.stem, window), norm(spec.stem), spec.activation
        )
        rates = drop_rates(spec.common.drop_path, len(spec.blocks))
        stride, blocks = spec.stem_stride, []
        for block, rate in zip(spec.blocks, rates, strict=True):
            blocks.append(InvertedResidual(spec, block, stride, rate))
            stride *= block.stride
        self.blocks = nn.ModuleList(blocks)
        features = spec.blocks[-1].out
        self.head: ConvNorm | None = None
        self.head_router: Router | None = None
        if spec.head:
            if spec.head_experts:
                self.head_router = Router(
                    features, spec.head_experts, dropout=spec.common.expert_dropout
                )
            conv = conv_of(features, spec.head, Window(1), experts=spec.head_experts)
            self.head = ConvNorm(conv, norm(spec.head), spec.activation)
            features = spec.head
        pooled = features
        self.hidden = nn.Linear(features, spec.hidden) if spec.hidden else None
        self.hidden_activation = activation_function(spec.activation)
        self.num_features = spec.hidden or features
        self.classifier = Classifier(
            self.num_features,
            num_classes,
            dropout=spec.common.dropout,
            experts=spec.common.conditional_classifier,
            expert_dropout=spec.common.expert_dropout,
        )
        self._places = _places(spec)
        self.channels = {tap: channels for tap, (_, channels) in self._places.items()}
        self.channels["head"] = pooled
        if spec.common.init == "truncated":
            _truncated_init(self)

    @override
    def final_map(self, images: Tensor) -> Tensor:
        x: Tensor = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self._headed(x)

    def _headed(self, x: Tensor) -> Tensor:
        if self.head is None:
            return x
        routing = None if self.head_router is None else self.head_router(x)
        y: Tensor = self.head(x, routing)
        return y

    @override
    def embed(self, images: Tensor) -> Tensor:
        """(batch, num_features): what the classifier sees, without dropout."""
        pooled = self.final_map(images).mean((2, 3))
        return pooled if self.hidden is None else self.hidden_activation(self.hidden(pooled))

    @override
    def _features(self, images: Tensor, taps: set[Tap]) -> dict[Tap, Tensor]:
        found: dict[Tap, Tensor] = {}
        at = {tap: self._places[tap][0] for tap in taps if tap != "head"}
        last = len(self.blocks) if "head" in taps else max((i + 1 for i in at.values()), default=0)
        x = self.stem(images)
        for i, block in enumerate(self.blocks[:last]):
            assert isinstance(block, InvertedResidual)  # the list holds nothing else
            here = {str(tap).rstrip("0123456789") or "": tap for tap, j in at.items() if j == i}
            if "expansion" in here:
                found[here["expansion"]] = block.expanded(x)
            x, inner = block.with_inner_maps(x)
            if "depthwise" in here:
                found[here["depthwise"]] = inner
            if "" in here:
                found[here[""]] = x
        if "head" in taps:
            found["head"] = self._headed(x)
        return found


def _places(spec: MobileSpec) -> dict[Tap, tuple[int, int]]:
    """(block, channels) of each tap but `head`.

    The places are those of the network without `output_stride`: `expansion16` is in the block that
    would leave stride 16.
    """
    places: dict[Tap, tuple[int, int]] = {}
    stride, nominal = spec.stem_stride, spec.stem_stride
    starts = _nominal_strides(spec)
    for i, (block, own) in enumerate(zip(spec.blocks, starts, strict=True)):
        if own > 1 and block.expanded != block.width:
            places[f"expansion{nominal}"] = (i, block.expanded)
        nominal *= own
        stride *= block.stride
        places[stride] = (i, block.out)
        places[f"depthwise{nominal}"] = (i, block.expanded)
    return places


def _nominal_strides(spec: MobileSpec) -> list[int]:
    """Strides of the blocks as if none had become a dilation."""
    blocks, result = spec.blocks, []
    for i, block in enumerate(blocks):
        follows = blocks[i + 1].dilation if i + 1 < len(blocks) else block.dilation
        result.append(block.stride * follows // block.dilation)
    return result


def _truncated_init(net: nn.Module) -> None:
    """N(0, 0.09), values beyond two deviations drawn again, for every kernel and matrix."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, 0.0, 0.09, -0.18, 0.18)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
