"""Networks that torchvision or timm has too: under which name, and built with which options."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import ConfigError

Library = Literal["torchvision", "timm"]


@dataclass(frozen=True)
class Peer:
    """A network of another library and how ours is made equal to it.

    Attributes:
        library: which one.
        theirs: its name there.
        name: its name here.
        options: of `create`, so that both compute the same.
    """

    library: Library
    theirs: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


_TORCH = {"padding": "symmetric", "norm_eps": 1e-5, "norm_momentum": 0.1}
_TIMM_TF = {"norm_momentum": 0.1}  # TensorFlow's eps and padding, timm's momentum


def _peers() -> Iterator[Peer]:
    for depth in (18, 34, 50, 101, 152):
        yield Peer("torchvision", f"resnet{depth}", f"resnet{depth}")
        yield Peer("timm", f"resnet{depth}", f"resnet{depth}")
        yield Peer("timm", f"resnetv2_{depth}", f"resnetv2_{depth}")
    for i in range(9):
        name = f"efficientnet_b{i}"
        if i < 8:
            yield Peer("torchvision", name, name, {"padding": "symmetric"} if i > 4 else _TORCH)
        yield Peer("timm", name, name, _TORCH)
        yield Peer("timm", f"tf_{name}", name, _TIMM_TF)
    yield Peer("timm", "tf_efficientnet_l2", "efficientnet_l2", _TIMM_TF)
    for theirs, name in (("b0_4e", "b0_4e"), ("b0_8e", "b0_8e"), ("b1_8e", "b0_depth_8e")):
        ours = f"cc_efficientnet_{name}"
        yield Peer("timm", f"tf_efficientnet_cc_{theirs}", ours, _TIMM_TF)
        yield Peer("timm", f"efficientnet_cc_{theirs}", ours, _TORCH)
    yield Peer("timm", "mobilenetv1_100", "mobilenetv1", _TORCH)
    yield Peer("torchvision", "mobilenet_v2", "mobilenetv2", _TORCH)
    for text, width in (("035", 0.35), ("050", 0.5), ("075", 0.75), ("100", 1.0), ("140", 1.4)):
        options = {**_TORCH, "width": width}
        yield Peer("timm", f"mobilenetv2_{text}", "mobilenetv2", options)
        if text != "035":
            yield Peer("timm", f"semnasnet_{text}", "mnasnet_a1", options)
    yield from _mobilenetv3()


def _mobilenetv3() -> Iterator[Peer]:
    for size in ("large", "small"):
        name = f"mobilenetv3_{size}"
        theirs = {"width_rule": "torchvision", "padding": "symmetric"}
        yield Peer("torchvision", f"mobilenet_v3_{size}", name, theirs)
        for text, width in (("075", 0.75), ("100", 1.0)):
            options = {"width": width, "width_rule": "timm"}
            yield Peer("timm", f"tf_{name}_{text}", name, _TIMM_TF | options)
            yield Peer("timm", f"{name}_{text}", name, _TORCH | options)
        yield Peer("timm", f"tf_{name}_minimal_100", f"{name}_minimal", _TIMM_TF)
    options = {**_TORCH, "width": 0.5, "width_rule": "timm"}
    yield Peer("timm", "mobilenetv3_small_050", "mobilenetv3_small", options)


PEERS: tuple[Peer, ...] = tuple(_peers())
"""All of them; each is tested for equal names, shapes and numbers."""


def find_peer(library: Library, theirs: str) -> Peer:
    """The entry of a network by its name in the other library.

    Raises:
        ConfigError: it is not shared.
    """
    for peer in PEERS:
        if peer.library == library and peer.theirs == theirs:
            return peer
    names = ", ".join(peer.theirs for peer in PEERS if peer.library == library)
    msg = f"{library} has no {theirs!r} that we have too; shared: {names}"
    raise ConfigError(msg)
