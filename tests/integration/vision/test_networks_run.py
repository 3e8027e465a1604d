"""Every network runs: sizes, memory formats, precisions, training, compilation, export."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.catalogue import list_names
from stages.vision.backbones.factory import create
from stages.vision.counting import count_parameters

# The smallest of each family, with what makes it cheap.
SMALLEST: dict[str, dict[str, Any]] = {
    "resnet10": {"stem": "small"},
    "resnetv2_18": {"stem": "small"},
    "wrn_10_1": {},
    "mobilenetv1_0.25": {},
    "mobilenetv2_0.35": {},
    "mnasnet_a1_0.5": {},
    "mbconv_tiny": {},
    "mobilenetv3_small_0.35": {},
    "efficientnet_b0": {"width": 0.25},
    "cc_mobilenetv2_0.35_4e": {"conditional": {"begin_block": 16}},
    "cc_efficientnet_b0_4e": {"width": 0.25},
    "aa_mnasnet_a1_0.5": {},
    "aa_wrn_10_1": {"attention": {"image_size": [64, 64]}},
    "aa_resnet34": {"attention": {"image_size": [64, 64]}},
}
EXPORTED = ("cc_mobilenetv2_0.35_4e", "aa_wrn_10_1")
EXACT = 1e-9  # float64, sums in another order, relative to the largest logit
SAME_NUMBERS = 1e-3  # the same in float32: untrained networks amplify what they are given
BFLOAT16 = 0.1  # 8 bits of mantissa through some such layers


def _smallest(name: str) -> Backbone:
    torch.manual_seed(0)
    net = create(name, num_classes=5, **SMALLEST[name])
    # Statistics of some data: with those it starts with, a random net's activations fade away.
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(torch.randn(16, 3, 64, 64))
    return net.eval()


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max() / b.detach().abs().max())


@pytest.mark.parametrize("name", SMALLEST)
def test_network_takes_any_size_and_both_memory_formats(name: str) -> None:
    net = _smallest(name).double()
    with torch.no_grad():
        for batch, height, width in ((1, 32, 32), (3, 17, 31), (1, 1, 1)):
            images = torch.randn(batch, 3, height, width, dtype=torch.float64)
            logits = net(images)
            assert logits.shape == (batch, 5)
            last = net(images.to(memory_format=torch.channels_last))
            assert _relative(last, logits) < EXACT


@pytest.mark.parametrize("name", SMALLEST)
def test_bfloat16_autocast_in_channels_last_stays_near_float32(name: str) -> None:
    net = _smallest(name).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)
    # Deeper down an untrained network has amplified the rounding beyond comparison.
    taps = [tap for tap in net.channels if isinstance(tap, int)][:2]
    exact = net.features(images, taps)
    with torch.autocast("cpu", torch.bfloat16):
        rough, logits = net.features(images, taps), net(images)
    for tap in taps:
        assert _relative(rough[tap].float(), exact[tap]) < BFLOAT16
    assert logits.isfinite().all()
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", SMALLEST)
def test_training_step_reaches_every_parameter(name: str) -> None:
    net = _smallest(name).train()
    loss = torch.nn.functional.cross_entropy(net(torch.randn(4, 3, 24, 40)), torch.arange(4))
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", SMALLEST)
def test_features_have_their_strides_and_channels(name: str) -> None:
    net = _smallest(name)
    taps = [tap for tap in net.channels if isinstance(tap, int)]
    with torch.no_grad():
        maps = net.features(torch.randn(1, 3, 50, 38), taps)
    for tap in taps:
        assert maps[tap].shape == (1, net.channels[tap], -(-50 // tap), -(-38 // tap))


def _small_enough() -> list[str]:
    with torch.device("meta"):
        return [n for n in list_names() if count_parameters(create(n)) < 30e6]


@pytest.mark.slow
def test_every_network_below_30_million_parameters_trains() -> None:
    names = _small_enough()
    assert len(names) > 40
    for name in names:
        net = create(name, num_classes=3)
        net(torch.randn(2, 3, 64, 64)).square().mean().backward()
        assert all(p.grad is not None for p in net.parameters()), name


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("mbconv_tiny", "aot_eager"),
        *(pytest.param(n, "inductor", marks=pytest.mark.slow) for n in SMALLEST),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the compiler's own making
def test_compiled_network_gives_the_same_numbers(name: str, backend: str) -> None:
    net = _smallest(name)
    torch.compiler.reset()
    compiled = torch.compile(net, dynamic=True, backend=backend)
    with torch.no_grad():
        for batch in (2, 5):
            images = torch.randn(batch, 3, 32, 32)
            assert _relative(compiled(images), net(images)) < SAME_NUMBERS


@pytest.mark.parametrize(
    "name", [n if n in EXPORTED else pytest.param(n, marks=pytest.mark.slow) for n in SMALLEST]
)
@pytest.mark.filterwarnings("ignore")  # of the exporter's own making
def test_exported_and_onnx_network_give_the_same_numbers_for_any_batch(
    name: str, tmp_path: Path
) -> None:
    net = _smallest(name)
    batch = torch.export.Dim("batch", min=1, max=64)
    example = torch.randn(2, 3, 32, 32)
    program = torch.export.export(net, (example,), dynamic_shapes={"images": {0: batch}})
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, (example,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in (1, 2, 5):
        images = torch.randn(size, 3, 32, 32)
        with torch.no_grad():
            expected = net(images)
            assert _relative(program.module()(images), expected) < SAME_NUMBERS
        (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        assert _relative(torch.from_numpy(np.asarray(logits)), expected) < SAME_NUMBERS
