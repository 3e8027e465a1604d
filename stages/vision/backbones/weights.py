"""State dicts of torchvision and timm: which tensor of theirs is which of ours."""

from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import ConfigError, InputError
from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.mobile_net import MobileNet
from stages.vision.backbones.peers import Library
from stages.vision.backbones.residual_net import ResNet
from stages.vision.backbones.specs import MobileSpec, ResidualSpec

_CLASSIFIER = "classifier."
# Places of a block in the order in which both libraries number them.
_TIMM_CONVS = ("conv_pw", "conv_dw", "conv_pwl")
_TIMM_CONVS_UNEXPANDED = ("conv_dw", "conv_pw")
_TIMM_SQUEEZE = {"reduce": "se.conv_reduce", "expand": "se.conv_expand"}
_TORCHVISION_SQUEEZE = {"reduce": "fc1", "expand": "fc2"}


def their_names(backbone: Backbone, library: Library) -> dict[str, str]:
    """The name over there of every tensor in the state dict, by ours.

    Raises:
        ConfigError: the library has no such network.
    """
    if isinstance(backbone, ResNet):
        return {key: _residual_name(backbone.spec, key, library) for key in backbone.state_dict()}
    assert isinstance(backbone, MobileNet)  # there are two kinds
    names = _Mobile(backbone.spec, library)
    return {key: names.name(key) for key in backbone.state_dict()}


def import_weights(
    backbone: Backbone, state: Mapping[str, Tensor], library: Library, *, classifier: bool = True
) -> None:
    """Loads a state dict of another library, all of it.

    Args:
        backbone: made with the options of the peer's entry in `peers.PEERS`.
        state: by the other library's names.
        library: whose names they are.
        classifier: False keeps our classifier, whatever number of classes theirs has.

    Raises:
        ConfigError: the library has no such network.
        InputError: tensors are missing, left over, or of another number of values.
    """
    names = their_names(backbone, library)
    if not classifier:
        dropped = {theirs for ours, theirs in names.items() if ours.startswith(_CLASSIFIER)}
        names = {ours: theirs for ours, theirs in names.items() if theirs not in dropped}
        state = {name: tensor for name, tensor in state.items() if name not in dropped}
    missing = sorted(set(names.values()) - state.keys())
    foreign = sorted(state.keys() - set(names.values()))
    if missing or foreign:
        msg = (
            f"not a state dict of {library}'s {backbone.common.name}: "
            f"missing {_some(missing)}; unknown {_some(foreign)}"
        )
        raise InputError(msg)
    own, loaded = backbone.state_dict(), {}
    for ours, theirs in names.items():
        if own[ours].numel() != state[theirs].numel():
            msg = (
                f"{theirs} is {tuple(state[theirs].shape)}, {backbone.common.name} has "
                f"{tuple(own[ours].shape)} there; another width, or other classes?"
            )
            raise InputError(msg)
        loaded[ours] = state[theirs].reshape(own[ours].shape)
    backbone.load_state_dict(loaded, strict=classifier)


def export_weights(backbone: Backbone, library: Library) -> dict[str, Tensor]:
    """The state dict under the other library's names and in its shapes.

    Raises:
        ConfigError: the library has no such network.
    """
    state = backbone.state_dict()
    return {
        theirs: _reshaped(state[ours], ours, theirs, library)
        for ours, theirs in their_names(backbone, library).items()
    }


def _reshaped(tensor: Tensor, ours: str, theirs: str, library: Library) -> Tensor:
    """1x1 convolutions that are matrices here; experts, which timm keeps flat."""
    if not ours.endswith("weight"):
        return tensor
    if tensor.ndim == 3:
        return tensor.flatten(1)
    is_map = ".squeeze_excite." in f".{ours}" or theirs in {"head.fc.weight"}
    is_map |= library == "timm" and ours == "hidden.weight"
    return tensor[:, :, None, None] if is_map else tensor


def _residual_name(spec: ResidualSpec, key: str, library: Library) -> str:
    experts = any(block.experts for stage in spec.stages for block in stage)
    shared = spec.stem == "imagenet" and spec.common.attended is None and not experts
    if not shared or (spec.version == 2 and library == "torchvision"):
        raise ConfigError(_not_shared(spec.common.name, library))
    first = spec.version == 1
    head, _, rest = key.partition(".")
    end = rest.rpartition(".")[2]
    outside = {
        "stem": "conv1" if first else "stem.conv",
        "stem_norm": "bn1",
        "final_norm": "norm",
        "classifier": "fc" if first else "head.fc",
    }
    return f"{outside[head]}.{end}" if head in outside else _residual_part(rest, first=first)


def _residual_part(rest: str, *, first: bool) -> str:
    """Of a block: `rest` is <stage>.<block>.<part>[.<number>].<tensor>."""
    stage, block, part, *deeper = rest.split(".")
    at = f"layer{int(stage) + 1}.{block}" if first else f"stages.{stage}.blocks.{block}"
    if part == "shortcut":
        place = "downsample.0" if first else "downsample.conv"
    elif part == "shortcut_norm":
        place = "downsample.1"
    else:
        norm = "bn" if first else "norm"
        place = f"{'conv' if part == 'convs' else norm}{int(deeper[0]) + 1}"
    return f"{at}.{place}.{deeper[-1]}"


class _Mobile:
    """Names of a mobile network in one library."""

    def __init__(self, spec: MobileSpec, library: Library):
        self.spec, self.library = spec, library
        stages = [
            (s, i, block) for s, stage in enumerate(spec.stages) for i, block in enumerate(stage)
        ]
        self.blocks = stages
        name = spec.common.name
        experts = any(block.experts for _, _, block in stages) or spec.head_experts
        foreign = (
            spec.common.attended is not None
            or spec.common.conditional_classifier
            or (experts and not name.startswith("cc_efficientnet"))
        )
        if library == "torchvision":
            # Its efficientnet, mobilenet_v2 and mobilenet_v3; it has no MobileNetV1, and its
            # mnasnet is B1.
            known = ("efficientnet", "mobilenetv2", "mobilenetv3")
            foreign = foreign or not name.startswith(known)
        if foreign or name.startswith("mbconv"):
            raise ConfigError(_not_shared(name, library))

    def name(self, key: str) -> str:
        """Their name of our tensor."""
        timm = self.library == "timm"
        head, _, rest = key.partition(".")
        end = key.rpartition(".")[2]
        if head == "blocks":
            index, part, *deeper = rest.split(".")
            name = self._timm_block if timm else self._torchvision_block
            return name(int(index), part, deeper)
        outside = self._timm_outside() if timm else self._torchvision_outside()
        return f"{outside[head if head in outside else key.rpartition('.')[0]]}.{end}"

    def _timm_outside(self) -> dict[str, str]:
        outside = {
            "stem.conv": "conv_stem",
            "stem.norm": "bn1",
            "head.conv": "conv_head",
            "head.norm": "bn2",
            "hidden": "conv_head",
            "classifier": "classifier",
        }
        if self.spec.hidden:
            last = f"blocks.{len(self.spec.stages)}.0"
            outside |= {"head.conv": f"{last}.conv", "head.norm": f"{last}.bn1"}
        return outside

    def _torchvision_outside(self) -> dict[str, str]:
        # Stages of EfficientNet and blocks of the others are numbered from 1.
        by_stage = self.spec.common.name.startswith("efficientnet")
        head = 1 + (len(self.spec.stages) if by_stage else len(self.blocks))
        return {
            "stem.conv": "features.0.0",
            "stem.norm": "features.0.1",
            "head.conv": f"features.{head}.0",
            "head.norm": f"features.{head}.1",
            "hidden": "classifier.0",
            "classifier": "classifier.3" if self.spec.hidden else "classifier.1",
        }

    def _timm_block(self, index: int, part: str, deeper: list[str]) -> str:
        stage, number, block = self.blocks[index]
        at, end = f"blocks.{stage}.{number}", deeper[-1]
        if part == "router":
            return f"{at}.routing_fn.{end}"
        if part == "squeeze_excite":
            return f"{at}.{_TIMM_SQUEEZE[deeper[0]]}.{end}"
        expands = block.expanded != block.width
        parts = ("expand", "depthwise", "project")[0 if expands else 1 :]
        place = parts.index(part)
        convs = _TIMM_CONVS if expands else _TIMM_CONVS_UNEXPANDED
        return f"{at}.{convs[place] if deeper[0] == 'conv' else f'bn{place + 1}'}.{end}"

    def _torchvision_block(self, index: int, part: str, deeper: list[str]) -> str:
        stage, number, block = self.blocks[index]
        name = self.spec.common.name
        parts = [
            *(["expand"] if block.expanded != block.width else []),
            "depthwise",
            *(["squeeze_excite"] if block.squeezed else []),
            "project",
        ]
        place, end, which = parts.index(part), deeper[-1], 0 if deeper[0] == "conv" else 1
        if name.startswith("mobilenetv2"):
            at = f"features.{index + 1}.conv"
            # The projection stands unwrapped at the end: its convolution, then its norm.
            if part == "project":
                return f"{at}.{place + which}.{end}"
            return f"{at}.{place}.{which}.{end}"
        at = f"features.{index + 1}.block"
        if name.startswith("efficientnet"):
            at = f"features.{stage + 1}.{number}.block"
        if part == "squeeze_excite":
            return f"{at}.{place}.{_TORCHVISION_SQUEEZE[deeper[0]]}.{end}"
        return f"{at}.{place}.{which}.{end}"


def _not_shared(name: str, library: Library) -> str:
    return f"{library} has no network like {name}; the shared ones are in peers.PEERS"


def _some(names: list[str]) -> str:
    return (
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"
    )
