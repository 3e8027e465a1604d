"""Every network that torchvision or timm has too: same names, shapes, numbers and gradients."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError, InputError
from pipeline.training.export import read_weights, write_weights
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
    ("timm", "resnetv2_50"),
    ("torchvision", "efficientnet_b0"),
    ("timm", "tf_efficientnet_b0"),
    ("timm", "tf_efficientnet_cc_b0_4e"),
    ("timm", "mobilenetv1_100"),
    ("torchvision", "mobilenet_v2"),
    ("timm", "semnasnet_050"),
    ("torchvision", "mobilenet_v3_small"),
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


def _assert_same_state(exported: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert exported.keys() == expected.keys()
    for name, tensor in exported.items():
        assert tensor.shape == expected[name].shape, name
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("peer", _cases())
def test_state_logits_and_gradients_are_those_of_the_peer(peer: Peer) -> None:
    theirs = their_network(peer)
    ours = our_network(peer, theirs)
    _assert_same_state(export_weights(ours, peer.library), theirs.state_dict())
    images = structured_images(2, 64, 55)
    expected, their_grads = squared_logits_gradient(theirs, images)
    logits, grads = squared_logits_gradient(ours, images)
    assert relative_difference(logits, expected) < TOLERANCE
    names = their_names(ours, peer.library)
    assert {names[name] for name in grads} == their_grads.keys()
    for name, grad in grads.items():
        difference = relative_difference(grad.flatten(), their_grads[names[name]].flatten())
        assert difference < TOLERANCE, name


@pytest.mark.parametrize(
    ("theirs", "changed"),
    [
        ("tf_efficientnet_b0", {"padding": "symmetric"}),
        ("tf_efficientnet_b0", {"norm_eps": 1e-5}),
        ("tf_mobilenetv3_small_100", {"padding": "symmetric"}),
        ("tf_mobilenetv3_small_100", {"norm_eps": 1e-5}),
    ],
)
def test_calibrated_statistics_expose_a_wrong_convention(
    theirs: str, changed: dict[str, object]
) -> None:
    peer = find_peer("timm", theirs)
    net = their_network(peer)
    images = structured_images(2, 64, 64)
    with torch.no_grad():
        difference = relative_difference(our_network(peer, net, **changed)(images), net(images))
    assert difference > 1e-4  # where nothing is wrong it is below 1e-10


def test_classifier_of_other_classes_is_left_out_when_asked() -> None:
    peer = find_peer("timm", "mobilenetv3_small_050")
    theirs = their_network(peer)
    net = create(peer.name, num_classes=7, **peer.options).double()
    own = {name: p.clone() for name, p in net.classifier.named_parameters()}
    import_weights(net, theirs.state_dict(), "timm", classifier=False)
    for name, parameter in net.classifier.named_parameters():
        assert torch.equal(parameter, own[name])
    assert torch.equal(
        net.state_dict()["stem.conv.weight"], theirs.state_dict()["conv_stem.weight"]
    )


def test_state_dict_of_another_network_is_refused_by_what_is_wrong() -> None:
    peer = find_peer("timm", "mobilenetv3_small_050")
    state = dict(their_network(peer).state_dict())
    net = create(peer.name, **peer.options).double()
    with pytest.raises(InputError, match=r"missing classifier\.bias; unknown none"):
        import_weights(net, {k: v for k, v in state.items() if k != "classifier.bias"}, "timm")
    with pytest.raises(InputError, match="another width, or other classes"):
        import_weights(create(peer.name, num_classes=7, **peer.options), state, "timm")


@pytest.mark.parametrize("name", ["aa_resnet50", "cc_resnet50_8e", "wrn_28_2", "mbconv_tiny"])
def test_network_that_timm_has_not_says_so(name: str) -> None:
    with torch.device("meta"):
        net = create(name)
    with pytest.raises(ConfigError, match="timm has no network like"):
        their_names(net, "timm")


def test_unknown_peer_lists_the_shared_ones() -> None:
    with pytest.raises(ConfigError, match=r"shared: .*resnet50"):
        find_peer("torchvision", "mnasnet1_0")


def test_first_stages_of_resnet_v2_are_the_peers() -> None:
    peer = find_peer("timm", "resnetv2_50")
    theirs = their_network(peer)
    ours = our_network(peer, theirs)
    images = structured_images(2, 64, 64)
    with torch.no_grad():
        expected = images
        for part in (theirs.stem, *theirs.stages[:3]):  # type: ignore[index]
            expected = part(expected)
        (got,) = ours.features(images, [16]).values()
    assert relative_difference(got, expected) < TOLERANCE


def test_weights_go_out_and_in_as_safetensors(tmp_path: Path) -> None:
    peer = find_peer("timm", "mobilenetv3_small_050")
    theirs = their_network(peer)
    path = tmp_path / "model.safetensors"
    write_weights(path, export_weights(our_network(peer, theirs), "timm"), {})
    net = create(peer.name, **peer.options).double()
    import_weights(net, read_weights(path), "timm")
    images = structured_images(1, 32, 32)
    with torch.no_grad():
        assert relative_difference(net.eval()(images), theirs(images)) < TOLERANCE
