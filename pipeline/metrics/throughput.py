"""Arithmetic of speed: what devices can do, and the share of it that a model's arithmetic is."""

import re
from collections.abc import Mapping
from typing import Literal

Precision = Literal["fp32", "tf32", "fp16", "bf16"]

_TERA = 1e12
_GPU_TERAFLOPS: tuple[tuple[str, Mapping[Precision, float]], ...] = (
    (r"\b(GB200|GB300)\b", {"bf16": 2500, "fp16": 2500, "tf32": 1250, "fp32": 80}),
    (r"\b(B200)\b", {"bf16": 2250, "fp16": 2250, "tf32": 1125, "fp32": 75}),
    (r"\b(H200 NVL|H100 NVL)\b", {"bf16": 835.5, "fp16": 835.5, "tf32": 417.5, "fp32": 60}),
    (r"\b(H100 PCIe)\b", {"bf16": 756, "fp16": 756, "tf32": 378, "fp32": 51.2}),
    (r"\b(H100|H200|H800|GH200)\b", {"bf16": 989.4, "fp16": 989.4, "tf32": 494.7, "fp32": 66.9}),
    (r"\b(H20)\b", {"bf16": 148, "fp16": 148, "tf32": 74, "fp32": 44}),
    (r"\b(A100|A800)\b", {"bf16": 312, "fp16": 312, "tf32": 156, "fp32": 19.5}),
    (r"\b(A40)\b", {"bf16": 149.7, "fp16": 149.7, "tf32": 74.8, "fp32": 37.4}),
    (r"\b(A30)\b", {"bf16": 165, "fp16": 165, "tf32": 82, "fp32": 10.3}),
    (r"\b(A10)\b", {"bf16": 125, "fp16": 125, "tf32": 62.5, "fp32": 31.2}),
    (r"\b(RTX A6000)\b", {"bf16": 154.8, "fp16": 154.8, "tf32": 77.4, "fp32": 38.7}),
    (r"\b(L40S)\b", {"bf16": 362, "fp16": 362, "tf32": 183, "fp32": 91.6}),
    (r"\b(L40)\b", {"bf16": 181, "fp16": 181, "tf32": 90.5, "fp32": 90.5}),
    (r"\b(L4)\b", {"bf16": 121, "fp16": 121, "tf32": 60, "fp32": 30.3}),
    (r"\b(RTX 4090)\b", {"bf16": 165.2, "fp16": 165.2, "tf32": 82.6, "fp32": 82.6}),
    (r"\b(RTX 3090)\b", {"bf16": 71, "fp16": 71, "tf32": 35.6, "fp32": 35.6}),
    (r"\b(V100-PCIE)\b", {"fp16": 112, "fp32": 14}),
    (r"\b(V100)\b", {"fp16": 125, "fp32": 15.7}),
    (r"\b(T4)\b", {"fp16": 65, "fp32": 8.1}),
    (r"\b(MI300X)\b", {"bf16": 1307.4, "fp16": 1307.4, "tf32": 653.7, "fp32": 163.4}),
    (r"\b(MI250X)\b", {"bf16": 383, "fp16": 383, "fp32": 47.9}),
)
"""Dense arithmetic with fp32 sums, from the makers' data sheets; the first name that is found in
the device's counts."""


def gpu_peak_flops(name: str, precision: Precision) -> float | None:
    """What a GPU can do in a second, by the name its driver gives it.

    Returns:
        dense floating-point operations a second, a multiply-add being two; None for a device that
        the table does not name, or a precision that it does not have.
    """
    for pattern, speeds in _GPU_TERAFLOPS:
        if re.search(pattern, name):
            speed = speeds.get(precision)
            return None if speed is None else speed * _TERA
    return None


def mfu(*, flops: float, seconds: float, peak_flops: float, num_devices: int) -> float:
    """Model FLOPs utilisation: the model's own arithmetic over what the devices could have done.

    Args:
        flops: what the model asks for, over all devices; no recomputation is counted.
        seconds: how long it took, waiting included; above 0.
        peak_flops: of one device, a second.
        num_devices: how many worked on it.

    Source: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B.
    """
    return flops / (seconds * peak_flops * num_devices)
