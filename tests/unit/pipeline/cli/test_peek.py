"""What `peek` shows of each kind of artifact."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.cache import Artifacts
from pipeline.errors import ExitCode
from pipeline.shards import TokenShardWriter
from pipeline.spec.ports import CHECKPOINT, FOLDER, PREDICTIONS, SHARDS, TABLE, Port
from pipeline.storage import Store
from tests.terminal import Said, pipeline

Peek = Callable[..., Said]


@pytest.fixture
def peek(tmp_path: Path) -> Peek:
    """Commits what `fill` writes into a folder as an artifact, and peeks at it."""

    def show(port: Port, fill: Callable[[Path], object], *options: str) -> Said:
        artifacts = Artifacts(Store(tmp_path / ".pipeline"))
        fill(artifacts.staging("key", "attempt", "out"))
        artifacts.write_part("key", "attempt", {"out": port})
        digests = artifacts.commit("key", "attempt", {"out": port}, lease_token="")
        return pipeline(tmp_path, "peek", digests["out"][:16], *options)

    return show


def _write_shards(folder: Path) -> None:
    with TokenShardWriter(
        folder, vocab_size=100, tokenizer="0" * 64, class_names=["neg", "pos"]
    ) as writer:
        for label in (1, 0, 1):
            writer.add("test", [label, 7, 9], label=label)


def test_peek_shards_shows_first_documents_of_each_split(peek: Peek) -> None:
    said = peek(SHARDS("classified"), _write_shards, "-n", "2")
    assert said.lines[1].startswith("shards(classified), 2 files, ")
    assert said.lines[2:] == [
        "  test 0 [pos] (3 tokens) [1, 7, 9]",
        "  test 1 [neg] (3 tokens) [0, 7, 9]",
    ]


def test_peek_checkpoint_shows_shapes_and_loads_no_weight(peek: Peek) -> None:
    def fill(folder: Path) -> None:
        (folder / "config.json").write_text('{"family": "toy"}')
        save_file({"w": np.zeros((2, 3), np.float32)}, folder / "model.safetensors")

    said = peek(CHECKPOINT("toy"), fill)
    assert said.lines[2:] == ['{"family": "toy"}', "1 tensors", "  w F32 (2, 3)"]


def test_peek_predictions_shows_first_lines(peek: Peek) -> None:
    def fill(folder: Path) -> None:
        lines = [json.dumps({"n": n, "text": "x" * 1000}) for n in range(5)]
        (folder / "predictions.jsonl").write_text("\n".join(lines))

    said = peek(PREDICTIONS, fill)
    assert [line[:10] for line in said.lines[2:]] == ['  {"n": 0,', '  {"n": 1,', '  {"n": 2,']
    assert max(map(len, said.lines)) < 500


def test_peek_folder_lists_files(peek: Peek) -> None:
    said = peek(FOLDER, lambda folder: (folder / "a.txt").write_text("abc"))
    assert said.lines[2:] == ["  a.txt 3 bytes"]


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (1 << 62).to_bytes(8, "little") + b"{}"])
def test_peek_of_a_checkpoint_that_is_none_ends_with_a_message(peek: Peek, content: bytes) -> None:
    said = peek(CHECKPOINT("toy"), lambda f: (f / "model.safetensors").write_bytes(content + b"x"))
    assert said.code == ExitCode.USER_ERROR
    assert "cannot be shown" in said.err
    assert "Traceback" not in said.err


def test_peek_at_a_table_shows_what_was_written_for_a_person(peek: Peek) -> None:
    def fill(folder: Path) -> None:
        (folder / "table.json").write_text('{"columns": ["a"], "rows": [[1]]}')
        (folder / "table.md").write_text("| a |\n|---|\n| 1 |\n")

    assert peek(TABLE, fill).lines[-3:] == ["| a |", "|---|", "| 1 |"]
