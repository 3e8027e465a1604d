"""Peaks by the names that drivers give, and the share of them."""

import pytest

from pipeline.metrics.throughput import Precision, gpu_peak_flops, mfu


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA H200", "fp16", 989.4e12),
        ("NVIDIA H200 NVL", "bf16", 835.5e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5e12),
        ("NVIDIA A100-PCIE-40GB", "tf32", 156e12),
        ("NVIDIA A10", "bf16", 125e12),
        ("NVIDIA A40", "bf16", 149.7e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA L40", "bf16", 181e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA B200", "bf16", 2250e12),
        ("NVIDIA GB200", "bf16", 2500e12),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("Tesla T4", "fp16", 65e12),
        ("NVIDIA T400 4GB", "fp16", None),
        ("NVIDIA A1000", "bf16", None),
        ("Voodoo 2", "fp32", None),
    ],
)
def test_gpu_peak_of_a_device_is_that_of_its_data_sheet(
    name: str, precision: Precision, peak: float | None
) -> None:
    assert gpu_peak_flops(name, precision) == peak


def test_mfu_is_the_share_of_what_all_devices_could_have_done() -> None:
    assert mfu(flops=3e12, seconds=2.0, peak_flops=1e12, num_devices=3) == pytest.approx(0.5)
