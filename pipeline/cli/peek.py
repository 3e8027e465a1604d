"""`pipeline peek`: the first samples of an artifact, decoded."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import StoreUrl
from pipeline.errors import DataError, InputError

if TYPE_CHECKING:
    from pipeline.cache import Artifacts

ArtifactName = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="A digest or its start, or RUN:STAGE.PORT.")
]
Count = Annotated[int, typer.Option("-n", "--count", min=1, help="Samples to show.")]
TokenizerName = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="ARTIFACT",
        help="Decodes token ids; found by itself in the same store.",
    ),
]
NOT_AS_ITS_KIND_SAYS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, DataError),
)
"""What reading a file raises that a stage wrote in a form of its own; no bug of ours."""
TOKEN_SCHEMAS = ("tokens", "classified")
_MAX_CHARACTERS = 400
_MAX_HEADER_BYTES = 100 * 2**20
"""As safetensors itself allows; a checkpoint is not trusted."""


def peek(
    artifact: ArtifactName,
    store: StoreUrl = None,
    count: Count = 3,
    tokenizer: TokenizerName = None,
) -> None:
    """Shows what an artifact is, and its first samples."""
    from pipeline.cache import Artifacts
    from pipeline.cli.session import open_store, workdir
    from pipeline.errors import UserError
    from pipeline.numbers import size

    place = open_store(store)
    artifacts = Artifacts(place, cache_folder=workdir() / "cache")
    digest = find_artifact(place, artifact)
    manifest = artifacts.manifest(digest)
    folder = artifacts.open(digest)
    kind = f"{manifest.kind}({manifest.schema_name})" if manifest.schema_name else manifest.kind
    print(f"{digest}\n{kind}, {len(manifest.files)} files, {size(manifest.num_bytes)}")
    named = None if tokenizer is None else _named_tokenizer(place, artifacts, tokenizer)
    show = _SHOWN.get(str(manifest.kind), _files)
    try:
        decode: Callable[[Any], str] = str
        if manifest.kind == "shards" and manifest.schema_name in TOKEN_SCHEMAS:
            decode = _decoder(place, artifacts, folder, named)
        for line in show(folder, count, decode):
            print(line)
    except BrokenPipeError:
        raise
    except NOT_AS_ITS_KIND_SAYS as exc:
        msg = (
            f"{artifact} cannot be shown: {type(exc).__name__}: {exc}. "
            "`pipeline get` copies its files out as they are"
        )
        raise UserError(msg) from exc


def find_artifact(store: Any, name: str) -> str:
    """The digest behind a digest, its start, or RUN:STAGE.PORT.

    Raises:
        UserError: nothing or more than one fits.
    """
    from pipeline.cli.get import find_output
    from pipeline.cli.session import find_state
    from pipeline.errors import UserError

    run, separator, port = name.partition(":")
    if separator:
        return find_output(find_state(store, run or None), port)
    found = [digest for digest in store.list("artifacts") if digest.startswith(name)]
    if len(found) == 1:
        return str(found[0])
    what = "no artifact begins" if not found else f"{len(found)} artifacts begin"
    msg = f"{what} with {name!r} in {store.url}; `pipeline cache ls -o json` lists them"
    raise UserError(msg)


def _named_tokenizer(store: Any, artifacts: Artifacts, name: str) -> str:
    from pipeline.errors import UserError

    digest = find_artifact(store, name)
    kind = artifacts.manifest(digest).kind
    if kind != "tokenizer":
        msg = f"--tokenizer: {digest[:12]} is a {kind}, not a tokenizer"
        raise UserError(msg)
    return digest


def _decoder(
    store: Any, artifacts: Artifacts, shards: Path, named: str | None
) -> Callable[[Any], str]:
    """Text of token ids by the tokenizer they were made with; their numbers where it is not here.

    Raises:
        UserError: the named one is another.
    """
    from pipeline.errors import UserError
    from pipeline.shards.index import read_indexes
    from pipeline.shards.tokenizer import Tokenizer

    made_with = read_indexes(shards)[0].tokenizer
    candidates = store.list("artifacts") if named is None else [named]
    for digest in candidates:
        if _model_digest(artifacts, digest) == made_with:
            return Tokenizer(artifacts.open(digest)).decode
    if named is not None:
        msg = f"--tokenizer: {named[:12]} is not the one that the shards were made with"
        raise UserError(msg)
    return str


def _model_digest(artifacts: Artifacts, digest: str) -> str | None:
    """What a tokenizer's model hashes to; None for other artifacts, and damaged ones."""
    from pipeline.shards.tokenizer import MODEL_FILE

    try:
        manifest = artifacts.manifest(digest)
    except InputError:
        return None
    model = manifest.files.get(MODEL_FILE)
    return model.sha256 if manifest.kind == "tokenizer" and model is not None else None


def _shards(folder: Path, count: int, decode: Callable[[Any], str]) -> Iterator[str]:
    from pipeline.shards.index import schema_of
    from pipeline.shards.peek import peek as first_samples
    from pipeline.shards.peek import peek_images

    if schema_of(folder) == "images":
        for picture in peek_images(folder, count):
            label = f" [{picture.label}]" if picture.label is not None else ""
            size = picture.num_bytes
            yield f"  {picture.split} {picture.number}{label} ({size} bytes) {picture.name}"
        return
    for sample in first_samples(folder, count):
        label = f" [{sample.label}]" if sample.label is not None else ""
        text = _short(decode(list(sample.ids)))
        yield f"  {sample.split} {sample.number}{label} ({sample.num_tokens} tokens) {text}"


def _json_file(name: str) -> Callable[[Path, int, Any], Iterator[str]]:
    def show(folder: Path, _count: int, _decode: Any) -> Iterator[str]:
        yield json.dumps(json.loads((folder / name).read_bytes()), indent=2, ensure_ascii=False)

    return show


def _table(folder: Path, count: int, decode: Any) -> Iterator[str]:
    """As its stage wrote it for a person, where it did."""
    text = folder / "table.md"
    if text.is_file() and text.stat().st_size:
        yield text.read_text(encoding="utf-8").rstrip()
    else:
        yield from _json_file("table.json")(folder, count, decode)


def _tokenizer(folder: Path, count: int, decode: Any) -> Iterator[str]:
    from pipeline.shards.tokenizer import DESCRIPTION_FILE, MODEL_FILE
    from pipeline.storage.digests import sha256_file

    yield from _json_file(DESCRIPTION_FILE)(folder, count, decode)
    # What shards, checkpoints and errors call a tokenizer.
    yield f"{MODEL_FILE} sha256 {sha256_file(folder / MODEL_FILE)}"


def _predictions(folder: Path, count: int, _decode: Any) -> Iterator[str]:
    with (folder / "predictions.jsonl").open() as file:
        for _, line in zip(range(count), file, strict=False):
            yield f"  {_short(line.rstrip())}"


def _checkpoint(folder: Path, count: int, _decode: Any) -> Iterator[str]:
    """Names and shapes from the header alone: no weight is read, nothing is unpickled."""
    if (folder / "config.json").is_file():
        yield json.dumps(json.loads((folder / "config.json").read_bytes()))
    with (folder / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
    header.pop("__metadata__", None)
    yield f"{len(header)} tensors"
    for name, tensor in list(header.items())[: 4 * count]:
        yield f"  {name} {tensor['dtype']} {tuple(tensor['shape'])}"


def _files(folder: Path, count: int, _decode: Any) -> Iterator[str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths[: 4 * count]:
        yield f"  {path.relative_to(folder)} {path.stat().st_size} bytes"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


_SHOWN: dict[str, Callable[[Path, int, Any], Iterator[str]]] = {
    "shards": _shards,
    "scores": _json_file("scores.json"),
    "table": _table,
    "tokenizer": _tokenizer,
    "predictions": _predictions,
    "checkpoint": _checkpoint,
}
