"""`pipeline render` as a person runs it."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.manifests import check_schema
from tests.terminal import pipeline

DAG = """\
name: NAME
stages:
  one:
    uses: command
    with: {argv: [sh, -c, 'echo ${env.WORD} > "$0/a"', '{outputs.o}'], outputs: {o: folder}}
  two:
    uses: command
    inputs: {o: one.o}
    with: {argv: [cp, '{inputs.o}/a', '{outputs.p}/b'], inputs: {o: folder}, outputs: {p: folder}}
profiles:
  cluster:
    on: kubernetes
    store: file:///artifacts/x
    cluster:
      image: "i:1"
      volumes: {artifacts: {claim: a}}
      env: {WORD: {secret: s, key: k}}
"""


@pytest.fixture
def dag(tmp_path: Path) -> Path:
    file = tmp_path / "dag.yaml"
    file.write_text(DAG.replace("NAME", "V1.0_" + "x" * 195))
    return file


@pytest.mark.parametrize("flags", [(), ("--stages",)])
def test_render_prints_the_same_valid_objects_each_time_and_no_secret(
    dag: Path, flags: tuple[str, ...]
) -> None:
    arguments = ("render", str(dag), "-p", "cluster", *flags)
    said = pipeline(dag.parent, *arguments, WORD="hunter2")
    assert said.code == 0, said.err
    objects = list(YAML(typ="safe", pure=True).load_all(said.out))
    assert len(objects) == 2
    for one in objects:
        check_schema(one)
    assert "hunter2" not in said.out
    assert pipeline(dag.parent, *arguments, WORD="hunter2").out == said.out


def test_render_into_a_folder_leaves_no_file_of_the_time_before(dag: Path) -> None:
    out = dag.parent / "out"
    (out / "mine.yaml").parent.mkdir()
    (out / "mine.yaml").write_text("kind: Mine\n")
    command = ("render", str(dag), "-p", "cluster", "-o", str(out))
    assert pipeline(dag.parent, *command, "--stages", WORD="x").code == 0
    assert {path.name for path in out.iterdir()} == {
        "1-one.yaml",
        "2-two.yaml",
        "kustomization.yaml",
        "mine.yaml",
    }
    assert pipeline(dag.parent, *command, WORD="x").code == 0
    assert {path.name for path in out.iterdir()} == {
        "runner.yaml",
        "kustomization.yaml",
        "mine.yaml",
    }


def test_render_without_what_pods_need_says_all_of_it(dag: Path) -> None:
    said = pipeline(dag.parent, "render", str(dag), WORD="x")
    assert said.code == 2
    assert "cluster.image" in said.err
    assert "store" in said.err
    assert "cluster.env.WORD" in said.err
