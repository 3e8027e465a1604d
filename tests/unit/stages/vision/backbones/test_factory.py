"""Names and options."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import ConfigError
from stages.vision.backbones.config import BackboneConfig
from stages.vision.backbones.factory import build, create


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown network 'efficientnet_b9'.*efficientnet_b"):
        create("efficientnet_b9")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {"width": 2.0}, "resnet50 has no option 'width'; it has: attention"),
        ("resnet50", {"attention": {"heads": 4}}, "resnet50 has no attention"),
        ("mobilenetv2", {"conditional": {"experts": 4}}, "mobilenetv2 has no experts"),
        ("mobilenetv2_1.4", {"width": 1.0}, "names a width already"),
        ("wrn_27_2", {}, "6 n \\+ 4"),
        ("wrn_28_2", {"stem": "imagenet"}, "is for small images"),
        ("cc_mobilenetv1_8e", {"conditional": {"head": True}}, "no 1x1 convolution"),
        ("cc_mobilenetv1_0e", {}, "at least one expert"),
        ("cc_efficientnet_b3_8e", {}, "b0 or b0_depth"),
        ("efficientnet_b0_depth", {}, "efficientnet_b1 is as deep"),
        ("resnet50", {"dropout": 1.5}, "dropout: Input should be less than 1"),
        ("resnet50", {"droput": 0.5}, "droput: Extra inputs"),
    ],
)
def test_option_that_does_not_fit_is_refused_by_name(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        create(name, **options)


def test_configuration_is_checked_when_it_is_read() -> None:
    with pytest.raises(ValidationError, match="did you mean"):
        BackboneConfig(name="resnet51")


def test_configuration_builds_the_network_of_the_factory() -> None:
    config = BackboneConfig(name="mbconv_tiny", width=1.5, drop_path=0.1)
    with torch.device("meta"):
        a = build(config, num_classes=10)
        b = create("mbconv_tiny", num_classes=10, width=1.5, drop_path=0.1)
    assert str(a) == str(b)


def test_names_need_no_torch() -> None:
    code = "import sys, stages.vision.backbones.config as c; c.BackboneConfig(name='resnet50'); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_features_stop_behind_the_last_tap() -> None:
    net: Any = create("mbconv_tiny", num_classes=10).eval()
    net.blocks[-1].register_forward_pre_hook(lambda *_: pytest.fail("the last block ran"))
    with torch.no_grad():
        maps = net.features(torch.randn(1, 3, 32, 32), [2, 4])
    assert {tap: tuple(m.shape) for tap, m in maps.items()} == {
        2: (1, 12, 16, 16),
        4: (1, 24, 8, 8),
    }


def test_features_are_the_maps_of_the_forward_pass() -> None:
    net = create("resnetv2_18", stem="small").eval()
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        (head,) = net.features(images, ["head"]).values()
        assert torch.equal(head, net.final_map(images))
        assert torch.equal(net.classifier(head.mean((2, 3))), net(images))


def test_unknown_tap_lists_the_taps() -> None:
    with torch.device("meta"):
        net = create("resnet18")
    with pytest.raises(ConfigError, match="has no tap 64; it has: 4, 8, 16, 32, head"):
        net.features(torch.empty(1, 3, 32, 32), [64])


def test_new_classifier_takes_place_and_type_of_the_old() -> None:
    net = create("mbconv_tiny", num_classes=10).to(torch.float64)
    net.set_classifier(3)
    assert net(torch.randn(2, 3, 32, 32, dtype=torch.float64)).shape == (2, 3)
