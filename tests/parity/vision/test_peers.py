"""Every network that torchvision or timm has too: same names, shapes, numbers and gradients."""

import pytest
import torch

from stages.vision.backbones.factory import create
from stages.vision.backbones.peers import PEERS, Peer, find_peer
from stages.vision.backbones.weights import export_weights, import_weights, their_names
from tests.vision.peers import (
    our_network,
    relative_difference,
    squared_logits_gradient,
    structured_images,
    their_network,
)

TOLERANCE = 1e-10  # float64, hundreds of layers, sums in another order

# The smallest of each family and the two conventions of each library; the others are slow.
QUICK = {
    ("torchvision", "resnet18"),
    ("timm", "resnetv2_18"),
    ("timm", "resnetv2_50"),
    ("torchvision", "efficientnet_b0"),
    ("timm", "tf_efficientnet_b0"),
    ("timm", "tf_efficientnet_cc_b0_4e"),
    ("timm", "mobilenetv1_100"),
    ("torchvision", "mobilenet_v2"),
    ("timm", "semnasnet_050"),
    ("torchvision", "mobilenet_v3_small"),
    ("torchvision", "mobilenet_v3_large"),
    ("timm", "tf_mobilenetv3_small_075"),
    ("timm", "tf_mobilenetv3_large_minimal_100"),
    ("timm", "mobilenetv3_small_050"),
}
HUGE = {"tf_efficientnet_l2"}  # 8 GB in float64 on both sides; its names and shapes are checked


def _cases() -> list[object]:
    return [
        pytest.param(
            peer,
            id=f"{peer.library}-{peer.theirs}",
            marks=[] if (peer.library, peer.theirs) in QUICK else pytest.mark.slow,
        )
        for peer in PEERS
        if peer.theirs not in HUGE
    ]


@pytest.mark.parametrize("peer", _cases())
def test_logits_and_gradients_are_those_of_the_peer(peer: Peer) -> None:
    theirs = their_network(peer)
    ours = our_network(peer, theirs)
    images = structured_images(2, 64, 55)
    expected, their_grads = squared_logits_gradient(theirs, images)
    logits, grads = squared_logits_gradient(ours, images)
    assert relative_difference(logits, expected) < TOLERANCE
    names = their_names(ours, peer.library)
    assert {names[name] for name in grads} == their_grads.keys()
    for name, grad in grads.items():
        difference = relative_difference(grad.flatten(), their_grads[names[name]].flatten())
        assert difference < TOLERANCE, name


@pytest.mark.parametrize("peer", _cases())
def test_exported_state_dict_is_the_peers_own(peer: Peer) -> None:
    theirs = their_network(peer)
    expected = theirs.state_dict()
    exported = export_weights(our_network(peer, theirs), peer.library)
    assert exported.keys() == expected.keys()
    for name, tensor in exported.items():
        assert tensor.shape == expected[name].shape, name
        assert torch.equal(tensor, expected[name]), name
