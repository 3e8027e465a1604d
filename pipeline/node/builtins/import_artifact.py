"""The built-in kind `import`: makes an artifact of what was made elsewhere."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import DataError, InputError, Preempted
from pipeline.spec.builtins import ImportConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import PortKind, parse_port
from pipeline.spec.scores import SCORES_FILE
from pipeline.storage.archives import extract_archive
from pipeline.storage.digests import sha256_file
from pipeline.storage.files import make_folder
from pipeline.storage.keys import check_key
from pipeline.storage.sources import SourceFile, open_source, source_files

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
_NEEDED = {
    PortKind.SHARDS: "index*.json",
    PortKind.TOKENIZER: "tokenizer.json",
    PortKind.CHECKPOINT: "*.safetensors",
    PortKind.PREDICTIONS: "predictions.jsonl",
    PortKind.SCORES: SCORES_FILE,
    PortKind.TABLE: "table.json",
}
"""Kind -> a file without which nothing downstream could read the artifact."""

_log = logging.getLogger(__name__)


def run(ctx: StageContext[ImportConfig]) -> None:
    """Copies the source into the output; a single archive is unpacked unless it is a shard.

    Raises:
        InputError: the source names no file, or its digest is not the one that was asked for.
        DataError: an archive is damaged or hostile, or the kind's own files are not among it.
        Preempted: asked to stop.
        OSError: the disk is full, or a file cannot be read.
    """
    config = ctx.config
    kind = parse_port(config.kind).kind
    (output,) = ctx.outputs.values()
    files = source_files(config.source)
    if not files:
        msg = f"source {config.source}: there is no such file"
        raise InputError(msg)
    folder = ctx.scratch if _is_archive(files, kind) else output
    for file in files:
        if ctx.should_stop():
            msg = f"asked to stop before {file.name} was copied"
            raise Preempted(msg)
        _copy(file, folder)
    if config.sha256 is not None:
        _check_digest(config, files, folder)
    if folder is not output:
        names = extract_archive(folder / files[0].name, output)
        _log.info("unpacked %d files of %s", len(names), files[0].name)
    needed = _NEEDED.get(kind)
    if needed is not None and not any(output.rglob(needed)):
        msg = f"source {config.source}: no {needed} in it, so it is no {config.kind}"
        raise DataError(msg)


def _is_archive(files: Sequence[SourceFile], kind: PortKind) -> bool:
    return (
        len(files) == 1
        and kind is not PortKind.SHARDS
        and files[0].name.lower().endswith(_ARCHIVES)
    )


def _copy(file: SourceFile, folder: Path) -> None:
    target = folder / check_key(file.name)
    make_folder(target.parent, durable=False)
    with open_source(file.path) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _check_digest(config: ImportConfig, files: Sequence[SourceFile], folder: Path) -> None:
    if len(files) != 1:
        msg = f"source {config.source}: sha256 is of one file, and this names {len(files)}"
        raise InputError(msg)
    found = sha256_file(folder / files[0].name)
    if found != config.sha256:
        msg = f"source {config.source}: its sha256 is {found}, not {config.sha256}"
        raise InputError(msg)
