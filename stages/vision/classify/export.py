"""The stage kind `vision.export`: ONNX and torch.export, each checked by running it."""

import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from stages.vision.backbones.backbone import Backbone
from stages.vision.checkpoint import CONFIG_FILE, Shape, load_network
from stages.vision.classify.config import ExportConfig

ONNX_FILE = "model.onnx"
PROGRAM_FILE = "model.pt2"
_TRIED = (1, 2, 5)
"""Batches that what was written is run with."""


def run(ctx: StageContext[ExportConfig]) -> None:
    """Writes the files and how far their outputs are from the network's.

    Raises:
        ConfigError: a package that ONNX needs is not installed, or an exported network gives
            other numbers than `tolerance` allows.
        InputError: the checkpoint is damaged.
    """
    network, shape = load_network(ctx.input("checkpoint"))
    folder = ctx.outputs["folder"]
    writers = {"onnx": (_write_onnx, _run_onnx), "torch": (_write_program, _run_program)}
    scores = {}
    for kind in ctx.config.formats:
        write, load = writers[kind]
        path = write(network, shape, folder)
        difference = _difference(network, load(path), shape)
        if not difference <= ctx.config.tolerance:
            msg = (
                f"{path.name}: logits differ by {difference:.2g} of the largest from the network's"
            )
            raise ConfigError(msg)
        scores[f"{kind}_difference"] = difference
    shutil.copyfile(ctx.input("checkpoint") / CONFIG_FILE, folder / CONFIG_FILE)
    write_scores(ctx.outputs["scores"], scores)


def _images(shape: Shape, count: int) -> Tensor:
    size = shape.frame.size
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, size, size, generator=generator)


def _difference(network: Backbone, exported: Callable[[Tensor], Tensor], shape: Shape) -> float:
    """Largest difference of a logit over the largest logit, over several batches."""
    worst = 0.0
    for count in _TRIED:
        images = _images(shape, count)
        with torch.no_grad():
            wanted = network(images)
            found = exported(images)
        worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
    return worst


def _write_onnx(network: Backbone, shape: Shape, folder: Path) -> Path:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        msg = (
            f"ONNX needs {', '.join(missing)}: install the extra `onnx`, or leave it out of formats"
        )
        raise ConfigError(msg)
    path = folder / ONNX_FILE
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        torch.onnx.export(
            network,
            (_images(shape, 2),),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes={"images": {0: batch}},
            verbose=False,
        )
    return path


def _run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    # Deferred: only who writes ONNX has it installed.
    import onnxruntime  # noqa: PLC0415 - see above

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def compute(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return compute


def _write_program(network: Backbone, shape: Shape, folder: Path) -> Path:
    path = folder / PROGRAM_FILE
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        program = torch.export.export(
            network, (_images(shape, 2),), dynamic_shapes={"images": {0: batch}}
        )
        torch.export.save(program, path)
    return path


def _run_program(path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        module = torch.export.load(path).module()

    def compute(images: Tensor) -> Tensor:
        logits: Tensor = module(images)
        return logits

    return compute
