"""`pipeline peek` at shards: text, by the tokenizer that made them."""

import json
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import pipeline

DAG = """\
name: peeked
stages:
  prose: {uses: data_prep.synthetic, with: {documents: 40}}
  pieces: {uses: data_prep.tokenizer, inputs: {text: prose.folder}, with: {vocab_size: 120}}
  others: {uses: data_prep.tokenizer, inputs: {text: prose.folder}, with: {vocab_size: 130}}
  shards: {uses: data_prep.text, inputs: {text: prose.folder, tokenizer: pieces.tokenizer}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peeked")
    (folder / "dag.yaml").write_text(DAG)
    done = pipeline(folder, "run", "dag.yaml")
    assert done.code == ExitCode.OK, done.err
    return folder


def test_peek_at_shards_finds_their_tokenizer(project: Path, tmp_path: Path) -> None:
    run = pipeline(project, "list").lines[0].split()[0]
    folder = tmp_path / "prose"
    got = pipeline(project, "get", run, "prose.folder", "-o", str(folder))
    assert got.code == ExitCode.OK, got.err
    first = " ".join(min(folder.rglob("*.txt")).read_text().split())
    said = pipeline(project, "peek", f"{run}:shards.shards", "-n", "1")
    assert said.code == ExitCode.OK, said.err
    assert first[:80] in said.lines[-1]


def test_peek_with_another_tokenizer_is_refused(project: Path) -> None:
    run = pipeline(project, "list").lines[0].split()[0]
    said = pipeline(
        project, "peek", f"{run}:shards.shards", "--tokenizer", f"{run}:others.tokenizer"
    )
    assert said.code == ExitCode.USER_ERROR
    assert "is not the one that the shards were made with" in said.err


def test_peek_at_a_tokenizer_shows_the_digest_that_its_shards_hold(project: Path) -> None:
    run = pipeline(project, "list").lines[0].split()[0]
    said = pipeline(project, "peek", f"{run}:pieces.tokenizer")
    digest = said.lines[-1].rpartition(" ")[2]
    (index,) = project.rglob("index-00000.json")
    assert json.loads(index.read_text())["tokenizer"] == digest
