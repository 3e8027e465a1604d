"""Networks beside torchvision's and timm's, conditional convolution beside timm's, attention.

    python -m tests.bench.bench_vision_models [--runs 10] [--only networks] [--write]

`--peer FILE` adds a public attention layer: the augmented_layer.py of the repository
LegenDong/attention-augmented.pytorch, which is not on a package index.

Same weights, images, batch and type on both sides, results compared first. CPU time of one thread,
so that other work on the machine counts little; rates are images a second.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import timm
import torch
import torchvision
from timm.layers.cond_conv2d import CondConv2d as TimmCondConv2d
from torch import Tensor, nn
from typing_extensions import override

from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.factory import create
from stages.vision.backbones.folding import folded
from stages.vision.backbones.peers import Peer, find_peer
from stages.vision.backbones.weights import import_weights
from stages.vision.layers.attention import AAConv2d, Heads, RelativeAttention
from stages.vision.layers.condconv import CondConv2d
from stages.vision.layers.convolution import Window
from tests.bench.ratios import RESULTS, Ratio, interleave, machine, table

SHARED = (
    ("torchvision", "resnet50"),
    ("timm", "resnet50"),
    ("timm", "resnetv2_50"),
    ("torchvision", "efficientnet_b0"),
    ("timm", "efficientnet_b0"),
    ("timm", "tf_efficientnet_b0"),
    ("torchvision", "mobilenet_v2"),
    ("timm", "mobilenetv2_100"),
    ("torchvision", "mobilenet_v3_large"),
    ("timm", "mobilenetv3_large_100"),
    ("timm", "tf_efficientnet_cc_b0_8e"),
)
LAYERS = (  # in, out, kernel, depthwise, map
    (192, 1152, 1, False, 7),
    (112, 672, 1, False, 14),
    (672, 672, 5, True, 14),
    (512, 512, 3, False, 7),
)
GRIDS = (7, 14, 28, 32)
LAST = torch.channels_last
TOLERANCE = 2e-3  # float32 through a whole untrained network


def _rate(step: Callable[[], object], images: int) -> Callable[[], float]:
    def measure() -> float:
        start = time.process_time()
        step()
        return images / (time.process_time() - start)

    return measure


def _training(net: nn.Module, images: Tensor) -> Callable[[], object]:
    def step() -> None:
        net.zero_grad(set_to_none=True)
        net(images).square().mean().backward()

    net.train()
    return step


def _inference(net: nn.Module, images: Tensor) -> Callable[[], object]:
    def step() -> None:
        with torch.no_grad():
            net(images)

    net.eval()
    return step


def _their_network(peer: Peer) -> nn.Module:
    net: nn.Module
    if peer.library == "timm":
        net = timm.create_model(peer.theirs)
    else:
        net = torchvision.models.get_model(peer.theirs, weights=None)
    return net


def _pair(library: Any, name: str) -> tuple[nn.Module, Backbone]:
    peer = find_peer(library, name)
    torch.manual_seed(0)
    theirs = _their_network(peer)
    # Both libraries add what they recommend for training; it is off on both sides.
    ours = create(peer.name, **{**peer.options, "dropout": 0.0, "drop_path": 0.0})
    for module in theirs.modules():
        if isinstance(module, nn.Dropout | torchvision.ops.StochasticDepth):
            module.p = 0.0
    import_weights(ours, theirs.state_dict(), library)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        a, b = theirs.eval()(images), ours.eval()(images)
    assert float((a - b).abs().max() / a.abs().max()) < TOLERANCE, name
    return theirs, ours


def networks(runs: int, batch: int, size: int) -> Iterator[Ratio]:
    """Training steps and inference; ours in channels_last, theirs in either format."""
    images = torch.randn(batch, 3, size, size)
    last = images.to(memory_format=LAST)
    for library, name in SHARED:
        theirs, ours = _pair(library, name)
        ours = ours.to(memory_format=LAST)
        for theirs_last in (False, True):
            theirs = theirs.to(memory_format=LAST if theirs_last else torch.contiguous_format)
            their_images = last if theirs_last else images
            case = f"{library} {name}, {'channels_last' if theirs_last else 'default layout'}"
            for what, step in (("training", _training), ("inference", _inference)):
                yield interleave(
                    f"{case}, {what}",
                    runs,
                    _rate(step(theirs, their_images), batch),
                    _rate(step(ours, last), batch),
                )
            yield interleave(
                f"{case}, inference, ours folded",
                runs,
                _rate(_inference(theirs, their_images), batch),
                _rate(_inference(folded(ours), last), batch),
            )


def conditional(runs: int) -> Iterator[Ratio]:
    """One layer, the faster of timm's two layouts against ours in channels_last."""
    for inputs, out, kernel, depthwise, size in LAYERS:
        for batch in (1, 8, 32):
            groups = inputs if depthwise else 1
            theirs = TimmCondConv2d(
                inputs, out, kernel, padding=kernel // 2, groups=groups, num_experts=8
            )
            ours = CondConv2d(inputs, out, Window(kernel), experts=8, groups=groups)
            with torch.no_grad():
                ours.weight.copy_(theirs.weight.view_as(ours.weight))
            x, routing = torch.randn(batch, inputs, size, size), torch.rand(batch, 8)
            assert torch.allclose(theirs(x, routing), ours(x, routing), atol=1e-4)
            for what, grad in (("forward", False), ("both", True)):
                best: Ratio | None = None
                for layout in (torch.contiguous_format, LAST):
                    ratio = interleave(
                        f"{kernel}x{kernel} {inputs}>{out} @{size} B{batch}, {what}",
                        runs,
                        _rate(
                            _layer_step(theirs, x.to(memory_format=layout), routing, grad), batch
                        ),
                        _rate(_layer_step(ours, x.to(memory_format=LAST), routing, grad), batch),
                    )
                    if best is None or max(ratio.baseline) > max(best.baseline):
                        best = ratio
                assert best is not None  # there are two layouts
                yield best


def _layer_step(layer: nn.Module, x: Tensor, *rest: Any) -> Callable[[], object]:
    *others, grad = rest
    x = x.detach().requires_grad_(grad)

    def step() -> None:
        with torch.set_grad_enabled(grad):
            y = layer(x, *others)
        if grad:
            y.backward(torch.ones_like(y))

    return step


class _Naive(nn.Module):
    """The same attention with a (positions, positions, channels) gather, as papers write it."""

    def __init__(self, attention: RelativeAttention):
        super().__init__()
        self.attention = attention

    @override
    def forward(self, kqv: Tensor) -> Tensor:
        """As `RelativeAttention.forward`."""
        heads, (batch, _, height, width) = self.attention.heads, kqv.shape
        flat = kqv.flatten(2)
        key, query, value = torch.split(flat, [heads.keys, heads.keys, heads.values], dim=1)
        key, query, value = (
            part.view(batch, heads.number, -1, height * width) for part in (key, query, value)
        )
        y, x = (torch.arange(n) for n in (height, width))
        assert self.attention.rows is not None
        assert self.attention.columns is not None
        rows = self.attention.rows[(y[None, :] - y[:, None] + height - 1)]
        columns = self.attention.columns[(x[None, :] - x[:, None] + width - 1)]
        offsets = rows.repeat_interleave(width, 0).repeat_interleave(width, 1)
        offsets = offsets + columns.repeat(height, height, 1)  # (positions, positions, channels)
        logits = torch.einsum("bndi,bndj->bnij", query, key)
        logits = logits + torch.einsum("bndi,ijd->bnij", query, offsets)
        weights = (logits * query.shape[2] ** -0.5).softmax(dim=-1)
        out = torch.einsum("bnij,bnej->bnei", weights, value)
        return out.reshape(batch, heads.values, height, width)


def attention(runs: int, batch: int) -> Iterator[Ratio]:
    """Relative attention against the naive one, forward, and forward with backward."""
    for grid in GRIDS:
        ours = RelativeAttention(Heads(160, 24, 8), (grid, grid))
        theirs = _Naive(ours)
        kqv = torch.randn(batch, 344, grid, grid)
        assert torch.allclose(ours(kqv), theirs(kqv), atol=1e-4)
        for what, grad in (("forward", False), ("both", True)):
            yield interleave(
                f"naive, {grid}x{grid} B{batch}, {what}",
                runs,
                _rate(_layer_step(theirs, kqv, grad), batch),
                _rate(_layer_step(ours, kqv.to(memory_format=LAST), grad), batch),
            )


def _public(module: Any, grid: int) -> nn.Module:
    layer: nn.Module = module.AugmentedLayer(64, 128, 3, 1, 160, 24, 8, True, grid, grid)
    layer.compute_flat_qkv = MethodType(_flat_qkv, layer)  # type: ignore[assignment]
    return layer


def _flat_qkv(layer: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Its own scales a part of a split in place, which today's autograd refuses."""
    widths = [layer.dk, layer.dk, layer.dv]
    q, k, v = (layer.split_heads_2d(t) for t in torch.split(layer.qkv_layer(x), widths, dim=1))
    q = q * (layer.dk // layer.Nh) ** -0.5
    return q.flatten(3), k.flatten(3), v.flatten(3), q, k, v


def public_layer(runs: int, batch: int, path: Path) -> Iterator[Ratio]:
    """The whole augmented convolution against the public layer, at the same shape."""
    spec = importlib.util.spec_from_file_location("augmented_layer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for grid in GRIDS:
        theirs = _public(module, grid)
        ours = AAConv2d(64, 128, Window(3), heads=Heads(160, 24, 8), grid=(grid, grid))
        x = torch.randn(batch, 64, grid, grid)
        assert theirs(x).shape == ours(x).shape
        for what, grad in (("forward", False), ("both", True)):
            yield interleave(
                f"public layer, {grid}x{grid} B{batch}, {what}",
                runs,
                _rate(_layer_step(theirs, x, grad), batch),
                _rate(_layer_step(ours, x.to(memory_format=LAST), grad), batch),
            )


def main() -> None:
    """Runs it and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", choices=("networks", "conditional", "attention"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], Iterator[Ratio]]] = {
        "networks": lambda: networks(options.runs, options.batch, options.size),
        "conditional": lambda: conditional(options.runs),
        "attention": lambda: attention(options.runs, options.batch),
    }
    if options.peer is not None:
        parts["public layer"] = lambda: public_layer(options.runs, options.batch, options.peer)
    text = [f"{machine('torch', 'torchvision', 'timm')}; {options.runs} runs"]
    for name, part in parts.items():
        if options.only in {None, name} or name == "public layer":
            ratios = []
            for ratio in part():
                print(f"{ratio.case}: {ratio.ratio:.2f}", flush=True)
                ratios.append(ratio)
            text.append(f"## {name}\n\n{table(ratios, 'theirs', 'images / s of CPU time')}")
    print("\n\n".join(text))
    if options.write:
        (RESULTS / "vision_models.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
