"""Networks of torchvision and timm with statistics that tell conventions apart."""

import warnings

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.factory import create
from stages.vision.backbones.peers import Peer
from stages.vision.backbones.weights import import_weights


def structured_images(count: int, height: int, width: int) -> Tensor:
    """(count, 3, height, width) float64: ramps, waves and boxes, bright on one side.

    Noise alone would look the same to a net that pads on the wrong side.
    """
    generator = torch.Generator().manual_seed(3)
    y = torch.linspace(0, 1, height, dtype=torch.float64)[:, None]
    x = torch.linspace(0, 1, width, dtype=torch.float64)[None, :]
    images = []
    for i in range(count):
        wave = torch.sin(6.0 * (i + 1) * x) * torch.cos(4.0 * y + i)
        box = ((x > 0.6) & (y > 0.2 * (i % 3))).double()
        images.append(torch.stack([2 * x + y, wave, box - y]))
    noise = torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64)
    return torch.stack(images) + 0.05 * noise


def their_network(peer: Peer) -> nn.Module:
    """The other library's network in float64, random weights, calibrated normalisation.

    The statistics are those of structured images, scale and shift are random: a random net with
    the statistics it starts with forgives wrong paddings and a wrong eps.
    """
    torch.manual_seed(1)
    with warnings.catch_warnings():
        # Theirs; with torch 2.14 importing either warns of what they will have to change.
        warnings.simplefilter("ignore")
        net = _made(peer).double()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, 0.0, 0.2)
        norm.momentum = 1.0
    drops = [m for m in net.modules() if isinstance(m, nn.Dropout)]
    rates = [drop.p for drop in drops]
    for drop in drops:
        drop.p = 0.0
    with torch.no_grad():
        net.train()(structured_images(6, 64, 72))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for drop, rate in zip(drops, rates, strict=True):
        drop.p = rate
    return net.eval()


def _made(peer: Peer) -> nn.Module:
    made: nn.Module
    if peer.library == "timm":
        made = timm.create_model(peer.theirs)
    else:
        made = torchvision.models.get_model(peer.theirs, weights=None)
    return made


def our_network(peer: Peer, theirs: nn.Module, **changed: object) -> Backbone:
    """Ours with their weights, in float64; `changed` overrides the options of the entry."""
    net = create(peer.name, **(dict(peer.options) | changed)).double()
    import_weights(net, theirs.state_dict(), peer.library)
    return net.eval()


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of the difference over that of theirs."""
    scale = theirs.pow(2).mean().sqrt()
    return float((ours - theirs).pow(2).mean().sqrt() / scale)


def squared_logits_gradient(net: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of a fixed nonlinear function of them by parameter name."""
    net.zero_grad()
    logits: Tensor = net(images)
    functional.softplus(logits).pow(2).sum().backward()  # type: ignore[no-untyped-call]
    grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    return logits.detach(), grads
