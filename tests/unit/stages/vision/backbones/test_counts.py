"""Parameters and multiply-adds of the published networks, as their papers and code give them."""

import pytest
import torch

from stages.vision.backbones.factory import create

PARAMETERS = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_b8": 87_413_142,
    "efficientnet_l2": 480_309_308,
    "mobilenetv3_large": 5_483_032,
    "mobilenetv3_small": 2_542_856,
    "mobilenetv3_large_0.35": 2_131_832,
    "mobilenetv3_large_0.5": 2_689_520,
    "mobilenetv3_large_0.75": 3_993_528,
    "mobilenetv3_large_1.25": 7_551_976,
    "mobilenetv3_small_0.35": 1_358_288,
    "mobilenetv3_small_0.5": 1_592_704,
    "mobilenetv3_small_0.75": 2_041_872,
    "mobilenetv3_small_1.25": 3_205_384,
    "mobilenetv3_large_minimal": 3_924_288,
    "mobilenetv3_small_minimal": 2_044_736,
    "mobilenetv1": 4_231_976,
    "mobilenetv2": 3_504_872,
    "mnasnet_a1": 3_887_038,
    "cc_efficientnet_b0_4e": 13_314_116,
    "cc_efficientnet_b0_8e": 24_013_284,
    "cc_efficientnet_b0_depth_8e": 39_715_968,
    "cc_mobilenetv1_8e": 32_826_824,
    "cc_mobilenetv2_8e": 27_457_768,
    "cc_resnet50_8e": 129_872_800,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnetv2_50": 25_549_352,
    "aa_resnet34": 20_745_072,
    "aa_resnet50": 25_809_392,
    "aa_resnet101": 45_386_728,
    "aa_resnet152": 61_613_536,
}


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameters_are_the_published_number(name: str, parameters: int) -> None:
    with torch.device("meta"):
        net = create(name)
    assert sum(p.numel() for p in net.parameters()) == parameters
