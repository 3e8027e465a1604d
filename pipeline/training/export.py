"""The trained model as one file that anything can read."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import InputError
from pipeline.training.engine import Engine
from pipeline.training.tensor_file import save_tensors
from pipeline.training.world import TrainingWorld

MODEL_FILE = "model.safetensors"
_TIED = "tied"


def export_model(engine: Engine, world: TrainingWorld, path: Path) -> None:
    """Writes the whole state dict, floats as float32; called by every rank, written by rank 0.

    Inside `engine.evaluation()` the averaged weights are what is written.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in engine.weights():
        if world.rank == 0:
            tensors[name] = tensor
    if world.rank == 0:
        write_weights(path, tensors, engine.tied)
    world.barrier()


def write_weights(path: Path, tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> None:
    """Writes tensors by name, durably.

    Args:
        path: the safetensors file; replaced as a whole.
        tensors: by name; those in `tied` are left out.
        tied: name -> the name that stands for it, recorded in the file's metadata.

    Raises:
        StoreError: the disk refused; `path` is as it was.
    """
    kept = {name: tensor.contiguous() for name, tensor in tensors.items() if name not in tied}
    metadata = {"format": "pt", _TIED: json.dumps(dict(tied), sort_keys=True)}
    save_tensors(path, kept, metadata=metadata)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, tied ones under each of their names; runs no code of it.

    Raises:
        InputError: the file is missing, cut short or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            tied = json.loads((file.metadata() or {}).get(_TIED, "{}"))
        return tensors | {alias: tensors[name] for alias, name in tied.items()}
    except (OSError, SafetensorError, ValueError, KeyError, AttributeError) as exc:
        msg = f"{path}: not a readable weights file: {exc}"
        raise InputError(msg) from exc
