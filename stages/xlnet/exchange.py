"""The stage kinds `xlnet.import_hf` and `xlnet.export_hf`."""

import shutil
from pathlib import Path

from pipeline.errors import InputError
from pipeline.spec.context import StageContext
from pipeline.storage.sources import is_url, open_source, source_files
from stages.xlnet.config import ExportHFConfig, ImportHFConfig
from stages.xlnet.transformers_folder import export_folder, import_folder

_READ = (".json", ".model", ".safetensors", ".bin")


def import_hf(ctx: StageContext[ImportHFConfig]) -> None:
    """Writes a checkpoint and a tokenizer.

    Raises:
        InputError: the folder is not there, damaged, or no XLNet that we can compute.
    """
    folder = _local(ctx.config.source, ctx.scratch)
    import_folder(
        folder,
        ctx.outputs["checkpoint"],
        ctx.outputs["tokenizer"],
        activation=ctx.config.activation,
    )


def export_hf(ctx: StageContext[ExportHFConfig]) -> None:
    """Writes a folder for transformers.

    Raises:
        InputError: the checkpoint is damaged, or has a head that transformers lacks.
    """
    export_folder(
        ctx.input("checkpoint"),
        ctx.input("tokenizer"),
        ctx.outputs["folder"],
        form=ctx.config.form,
    )


def _local(source: str, scratch: Path) -> Path:
    """The folder itself, or a copy of what is read of a remote one."""
    if not is_url(source):
        return Path(source)
    files = [f for f in source_files(source) if "/" not in f.name and f.name.endswith(_READ)]
    if not files:
        msg = f"source {source}: no file of a model there"
        raise InputError(msg)
    for file in files:
        with open_source(file.path) as remote, (scratch / file.name).open("wb") as copy:
            shutil.copyfileobj(remote, copy, 1 << 20)
    return scratch
