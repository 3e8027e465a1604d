"""What the device of a rank can do in a second: by its data sheet, or tried out."""

import time

import torch

from pipeline.metrics.throughput import Precision, gpu_peak_flops

_SIZE = 512
_SECONDS = 0.1
_DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def device_peak_flops(device: torch.device, precision: Precision) -> float | None:
    """Dense floating-point operations a second; None where nobody has written it down.

    A GPU's stand in a table. A CPU's are measured, with the threads this process may use: the
    fastest of the square matrix products that fit into a tenth of a second.
    """
    if device.type == "cuda":
        if precision == "fp32" and torch.backends.cuda.matmul.allow_tf32:
            precision = "tf32"
        return gpu_peak_flops(torch.cuda.get_device_name(device), precision)
    return _measured(_DTYPES[precision])


def _measured(dtype: torch.dtype) -> float:
    matrix = torch.full((_SIZE, _SIZE), 1 / _SIZE, dtype=dtype)
    best, begin = float("inf"), time.perf_counter()
    while (start := time.perf_counter()) < begin + _SECONDS or best == float("inf"):
        matrix = matrix @ matrix  # stays what it is: every element is 1 / _SIZE
        best = min(best, time.perf_counter() - start)
    return 2 * _SIZE**3 / best
