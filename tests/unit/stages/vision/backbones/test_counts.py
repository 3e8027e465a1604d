"""Parameters and multiply-adds of the published networks, as their papers and code give them."""

from typing import Any

import pytest
import torch

from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.catalogue import list_names
from stages.vision.backbones.factory import create
from stages.vision.counting import count_macs, count_parameters

# name: parameters, image size, multiply-adds. Where a paper rounds, the integer is that of its
# definition, which rounds to the paper's.
TABLE: dict[str, tuple[int, int, int]] = {
    "efficientnet_b0": (5_288_548, 224, 385_814_752),
    "efficientnet_b1": (7_794_184, 240, 686_802_832),
    "efficientnet_b2": (9_109_994, 260, 993_561_872),
    "efficientnet_b3": (12_233_232, 300, 1_827_141_392),
    "efficientnet_b4": (19_341_616, 380, 4_393_771_024),
    "efficientnet_b5": (30_389_784, 456, 10_266_384_752),
    "efficientnet_b6": (43_040_704, 528, 19_067_593_536),
    "efficientnet_b7": (66_347_960, 600, 37_745_884_192),
    "efficientnet_b8": (87_413_142, 672, 62_597_461_568),
    "efficientnet_l2": (480_309_308, 800, 475_703_653_280),
    "mobilenetv3_large": (5_483_032, 224, 216_589_760),
    "mobilenetv3_small": (2_542_856, 224, 56_510_400),
    "mobilenetv3_large_0.35": (2_131_832, 224, 39_472_336),
    "mobilenetv3_large_0.5": (2_689_520, 224, 69_247_600),
    "mobilenetv3_large_0.75": (3_993_528, 224, 154_560_624),
    "mobilenetv3_large_1.25": (7_551_976, 224, 355_221_920),
    "mobilenetv3_small_0.35": (1_358_288, 224, 12_815_840),
    "mobilenetv3_small_0.5": (1_592_704, 224, 21_052_560),
    "mobilenetv3_small_0.75": (2_041_872, 224, 43_399_344),
    "mobilenetv3_small_1.25": (3_205_384, 224, 90_800_864),
    "mobilenetv3_large_minimal": (3_924_288, 224, 209_136_704),
    "mobilenetv3_small_minimal": (2_044_736, 224, 52_288_448),
    "mobilenetv1": (4_231_976, 224, 568_740_352),
    "mobilenetv2": (3_504_872, 224, 300_774_272),
    "mnasnet_a1": (3_887_038, 224, 311_579_072),
    "cc_efficientnet_b0_4e": (13_314_116, 224, 396_513_888),
    "cc_efficientnet_b0_8e": (24_013_284, 224, 407_213_024),
    "cc_efficientnet_b0_depth_8e": (39_715_968, 224, 606_131_552),
    "cc_mobilenetv1_8e": (32_826_824, 224, 601_413_952),
    "cc_mobilenetv2_8e": (27_457_768, 224, 328_145_856),
    "cc_mnasnet_a1_8e": (14_984_718, 224, 324_261_184),
    "cc_resnet50_8e": (129_872_800, 224, 4_208_394_048),
    "resnet18": (11_689_512, 224, 1_814_073_344),
    "resnet34": (21_797_672, 224, 3_663_761_408),
    "resnet50": (25_557_032, 224, 4_089_184_256),
    "resnet101": (44_549_160, 224, 7_801_405_440),
    "resnet152": (60_192_808, 224, 11_513_626_624),
    "resnetv2_50": (25_549_352, 224, 4_089_184_256),
    "aa_resnet34": (20_745_072, 224, 3_596_721_568),
    "aa_resnet50": (25_809_392, 224, 4_206_817_968),
    "aa_resnet101": (45_386_728, 224, 8_165_233_968),
    "aa_resnet152": (61_613_536, 224, 12_099_113_904),
}

# Variants: name, options, parameters.
VARIANTS: list[tuple[str, dict[str, Any], int]] = [
    ("wrn_28_2", {"num_classes": 10}, 1_467_610),
    ("resnetv2_50", {"num_classes": 10, "stem": "small"}, 23_513_162),
    ("cc_mobilenetv1_8e", {"conditional": {"begin_block": 7}}, 31_891_136),
    ("cc_resnet50_8e", {"conditional": {"shortcut": True, "classifier": False}}, 130_193_472),
    ("aa_resnet50", {"attention": {"kappa": 0.25, "upsilon": 0.25}}, 24_303_728),
    ("aa_resnet50", {"attention": {"kappa": 0.5, "upsilon": 0.5}}, 22_342_680),
    ("aa_resnet50", {"attention": {"kappa": 0.75, "upsilon": 0.75}}, 20_735_496),
    ("aa_resnet50", {"attention": {"kappa": 1.0, "upsilon": 1.0}}, 19_383_560),
    ("mobilenetv3_large", {"width": 0.35, "width_rule": "torchvision"}, 997_064),
    ("mobilenetv3_large", {"width": 0.5, "width_rule": "torchvision"}, 1_734_576),
    ("mobilenetv3_large", {"width": 0.75, "width_rule": "torchvision"}, 3_377_576),
    ("mobilenetv3_large", {"width": 1.25, "width_rule": "torchvision"}, 8_164_744),
    ("mobilenetv3_small", {"width": 0.35, "width_rule": "torchvision"}, 558_744),
    ("mobilenetv3_small", {"width": 0.5, "width_rule": "torchvision"}, 917_264),
    ("mobilenetv3_small", {"width": 0.75, "width_rule": "torchvision"}, 1_653_920),
    ("mobilenetv3_small", {"width": 1.25, "width_rule": "torchvision"}, 3_644_912),
    ("mobilenetv3_large", {"width": 0.35, "width_rule": "timm"}, 2_132_216),
    ("mobilenetv3_large", {"width": 0.5, "width_rule": "timm"}, 2_689_904),
    ("mobilenetv3_small", {"width": 0.5, "width_rule": "timm"}, 1_593_224),
    ("mobilenetv3_small_1.25", {"scale_hidden": True}, 3_645_960),
    ("mobilenetv3_large_1.25", {"scale_hidden": True}, 8_256_296),
    ("mobilenetv3_large", {"tail": "detection"}, 2_569_352),
    ("mobilenetv3_small", {"tail": "detection"}, 1_099_672),
    # The paper's deeper B0 (printed: 20.09 M).
    ("efficientnet_b0", {"depth": 4.0}, 20_091_856),
]


def _meta(name: str, **options: Any) -> Backbone:
    with torch.device("meta"):
        return create(name, **options)


@pytest.mark.parametrize("name", TABLE)
def test_network_has_the_published_parameters_and_multiply_adds(name: str) -> None:
    parameters, size, macs = TABLE[name]
    net = _meta(name)
    assert count_parameters(net) == parameters
    assert count_macs(net, (1, 3, size, size)) == macs


@pytest.mark.parametrize(("name", "options", "parameters"), VARIANTS)
def test_variant_has_its_number_of_parameters(
    name: str, options: dict[str, Any], parameters: int
) -> None:
    assert count_parameters(_meta(name, **options)) == parameters


@pytest.mark.parametrize("name", sorted(set(list_names()) - TABLE.keys()))
def test_every_other_name_is_built_and_counted(name: str) -> None:
    net = _meta(name)
    assert count_parameters(net) > 0
    assert count_macs(net, (1, 3, 32, 32)) > 0


@pytest.mark.parametrize(
    ("name", "size", "macs"),
    [
        ("efficientnet_b1", 224, 569_651_680),
        ("efficientnet_b4", 224, 1_503_710_432),
        ("efficientnet_b7", 224, 5_169_865_152),
        ("mobilenetv3_large", 256, 281_663_360),
        ("mobilenetv3_large", 96, 43_060_160),
        ("mobilenetv3_small", 160, 29_846_976),
        ("mobilenetv3_small", 128, 19_848_192),
    ],
)
def test_multiply_adds_at_another_size(name: str, size: int, macs: int) -> None:
    assert count_macs(_meta(name), (1, 3, size, size)) == macs


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_padding_changes_neither_count(padding: str) -> None:
    net = _meta("efficientnet_b0", padding=padding)
    assert count_parameters(net) == 5_288_548
    assert count_macs(net, (1, 3, 224, 224)) == 385_814_752


def test_wide_resnet_of_ten_classes_has_the_published_multiply_adds() -> None:
    assert count_macs(_meta("wrn_28_2", num_classes=10), (1, 3, 32, 32)) == 214_353_152


def test_small_stem_resnet_v2_has_the_published_multiply_adds() -> None:
    net = _meta("resnetv2_50", num_classes=10, stem="small")
    assert count_macs(net, (1, 3, 32, 32)) == 1_297_809_408 + 2048 * 10  # and the classifier


def test_first_three_stages_of_resnet_v2_are_the_patch_network() -> None:
    net = _meta("resnetv2_50", stem="small")
    assert [count_parameters(stage) for stage in net.stages] == [  # type: ignore[union-attr]
        214_912,
        1_218_048,
        7_095_296,
        14_958_592,
    ]


@pytest.mark.parametrize(
    ("shortcut", "classes", "millions"),
    [("pad", 100, 36.28), ("projection", 100, 36.54)],
)
def test_wrn_28_10_has_the_published_size_with_padded_shortcuts_only(
    shortcut: str, classes: int, millions: float
) -> None:
    net = _meta("wrn_28_10", num_classes=classes, shortcut=shortcut)
    assert round(count_parameters(net) / 1e6, 2) == millions


def test_augmented_wrn_is_within_the_published_rounding() -> None:
    # Published: 36.2 M, which no simple rounding gives.
    assert abs(count_parameters(_meta("aa_wrn_28_10", num_classes=100)) - 36.2e6) < 0.15e6


@pytest.mark.parametrize(("width", "base", "gain"), [(0.75, 2.91, 101), (1.0, 3.89, 171)])
def test_augmented_mnasnet_gains_what_is_published(width: float, base: float, gain: int) -> None:
    plain = count_parameters(_meta("mnasnet_a1", width=width))
    assert round(plain / 1e6, 2) == base
    augmented = count_parameters(_meta("aa_mnasnet_a1", width=width))
    assert abs(augmented - plain - gain * 1e3) < 3e3


@pytest.mark.parametrize(("size", "millions"), [("large", 1_379_184), ("small", 390_576)])
def test_halved_tail_for_segmentation_has_the_published_backbone(size: str, millions: int) -> None:
    net = _meta(f"mobilenetv3_{size}", tail="segmentation")
    behind = count_parameters(net.classifier) + count_parameters(net.hidden)  # type: ignore[arg-type]
    assert count_parameters(net) - behind == millions


def test_every_expert_costs_one_multiply_add_a_parameter() -> None:
    four, eight = (_meta(f"cc_efficientnet_b0_{n}e") for n in (4, 8))
    experts = sum(p.numel() for p in eight.parameters() if p.ndim == 3)
    routers = sum(p.numel() for n, p in eight.named_parameters() if "router.linear.weight" in n)
    macs = [count_macs(net, (1, 3, 224, 224)) for net in (four, eight)]
    assert macs[1] - macs[0] == (experts + routers) // 2


def test_depthwise_pointwise_and_squeeze_share_of_b0() -> None:
    net = _meta("efficientnet_b0")
    stem = count_macs(net.stem, (1, 3, 224, 224))  # type: ignore[arg-type]
    assert stem == 10_838_016
    assert sum(p.numel() for n, p in net.named_parameters() if ".norm." in n) == 42_016
