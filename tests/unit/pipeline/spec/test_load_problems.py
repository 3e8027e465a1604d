"""Mistakes outside the DAG file's own text, and how many messages a mistake makes."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.spec.load import load_dag
from tests.builders import problems

CUT = "  cut: {uses: ./toys.py:CUT}\n"
HEAD = f"name: t\nstages:\n{CUT}"
TRAIN = f"{HEAD}  a:\n    uses: ./toys.py:TRAIN\n    inputs: {{shards: cut.shards}}\n"
SEEDS = (
    f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: [1, 2]}}\n    seed: '${{matrix.seed}}'\n"
)


def test_load_unknown_kind_suggests_one(tmp_path: Path) -> None:
    (message,) = problems(tmp_path, "name: t\nstages:\n  a: {uses: comand}\n")
    assert message.startswith(
        "dag.yaml:3:13: stages.a.uses: unknown stage kind 'comand'. Did you mean command? Kinds: "
    )
    assert message.endswith(" A file of your own: ./my_stage.py:SPEC.")


def test_load_kind_that_raises_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import json\njson.loads('')\n")
    assert problems(tmp_path, "name: t\nstages:\n  a: {uses: ./mine.py:SPEC}\n") == [
        (
            "dag.yaml:3:13: stages.a.uses: mine.py does not import: line 2: JSONDecodeError: "
            "Expecting value: line 1 column 1 (char 0)."
        )
    ]


def test_load_kind_with_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\ny = (\n")
    assert problems(tmp_path, "name: t\nstages:\n  a: {uses: ./mine.py:SPEC}\n") == [
        "dag.yaml:3:13: stages.a.uses: mine.py does not import: line 2: '(' was never closed."
    ]


def test_load_kind_that_exits_does_not_end_the_program(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit(0)\n")
    assert problems(tmp_path, "name: t\nstages:\n  a: {uses: ./mine.py:SPEC}\n") == [
        "dag.yaml:3:13: stages.a.uses: mine.py does not import: line 1: SystemExit: 0."
    ]


def test_load_unknown_profile_suggests_one(tmp_path: Path) -> None:
    assert problems(tmp_path, f"{HEAD}profiles: {{laptop: {{}}}}\n", profile="laptob") == [
        (
            "dag.yaml:4:1: profiles: there is no profile 'laptob'. Did you mean laptop? "
            "Profiles: laptop."
        )
    ]


def test_load_chosen_profile_checks_its_own_keys(tmp_path: Path) -> None:
    text = f"{HEAD}profiles: {{laptop: {{on: 3, cluster: []}}}}\n"
    assert problems(tmp_path, text, profile="laptop") == [
        'dag.yaml:4:25: on: should be a text, not 3. Quote it: "3".',
        "dag.yaml:4:37: cluster: should be a mapping, not [].",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nothing",
            (
                "--set: 'nothing' has no path or no =. "
                "Write --set PATH=VALUE, e.g. --set params.steps=10."
            ),
        ),
        ("params.x=1", "--set: params.x: there is no param x. Params: none."),
        (
            "stage.cut.seed=1",
            (
                "--set: stage.cut.seed: unknown path. Did you mean stages? "
                "Paths begin with: cluster, name, on, params, seed, stages, store."
            ),
        ),
        (
            "seed=[",
            (
                "--set: seed: YAML syntax: expected the node content, but found '<stream end>' while "
                "parsing a flow node."
            ),
        ),
        ("stages={}", "--set: stages: replaces every stage. Name one, e.g. stages.pretrain.with."),
        (
            "stages.cut.resources.worker=2",
            (
                "--set: stages.cut.resources.worker: unknown key. Did you mean workers? "
                "Keys: cpus_per_process, disk, gpus_per_node, memory, nodes, processes_per_node, shm, "
                "workers."
            ),
        ),
        (
            "stages.cut.resources.workers=no",
            '--set: stages.cut.resources.workers: should be a whole number, not "no".',
        ),
        (
            "stages.cut.uses.x=1",
            (
                "--set: stages.cut.uses.x: stages.cut.uses is a text, with nothing below it. "
                "Set stages.cut.uses as a whole."
            ),
        ),
    ],
)
def test_load_bad_set_names_its_layer(text: str, message: str, tmp_path: Path) -> None:
    assert problems(tmp_path, HEAD, sets=[text]) == [message]


def test_load_bad_values_are_placed_in_their_file(tmp_path: Path) -> None:
    values = {"v.yaml": "stages.cut.resources: {workers: 0}\n", "w.yaml": "[1]"}
    assert problems(tmp_path, HEAD, values=values) == [
        "v.yaml:1:33: stages.cut.resources.workers: should be greater than 0, not 0.",
        (
            "w.yaml:1:1: should be a mapping, not a list. Write paths and values, "
            "e.g. `params.steps: 10`."
        ),
    ]


def test_load_param_of_a_layer_is_blamed_in_that_layer(tmp_path: Path) -> None:
    text = f"params: {{steps: 1}}\n{TRAIN}    with: {{steps: '${{params.steps}}'}}\n"
    assert problems(tmp_path, text, sets=["params.steps=ten"]) == [
        '--set: stages.a.with.steps: should be a whole number, not "ten" (${params.steps}).'
    ]


def test_load_never_prints_what_the_environment_holds(tmp_path: Path) -> None:
    text = f"{TRAIN}    with: {{steps: '${{env.TOKEN}}', corpus: '/x/${{env.TOKEN}}'}}\n"
    assert problems(tmp_path, text, environ={"TOKEN": "hunter2"}) == [
        'dag.yaml:7:19: stages.a.with.steps: should be a whole number, not "${env.TOKEN}".'
    ]
    text = f"{TRAIN}    with: {{steps: 1, corpus: '/x/${{env.TOKEN}}'}}\n"
    assert problems(tmp_path, text, environ={"TOKEN": "hunter2"}) == [
        (
            'dag.yaml:7:30: stages.a.with.corpus: there is no file "/x/${env.TOKEN}". '
            "Relative paths start at the folder of the DAG file."
        )
    ]


def test_load_many_mistakes_gives_them_all_in_file_order(tmp_path: Path) -> None:
    text = """\
name: t
seed: -1
parms: {}
stages:
  cut: {uses: ./toys.py:CUT, resources: {nodes: 2}, retri: {}}
  a:
    uses: ./toys.py:TRAIN
    with: {steps: 0, modle: {}, dropout: "${params.dropout}"}
    inputs: {shards: cut.shrads}
  b: {uses: ./toys.py:NOPE}
profiles: {laptop: {stages.cat.seed: 1}}
"""
    found = problems(tmp_path, text, sets=["seed=x"])
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in found] == [
        "--set seed",
        "dag.yaml:3:1 parms",
        "dag.yaml:5:42 stages.cut.resources.nodes",
        "dag.yaml:5:53 stages.cut.retri",
        "dag.yaml:8:19 stages.a.with.steps",
        "dag.yaml:8:22 stages.a.with.modle",
        "dag.yaml:8:42 stages.a.with.dropout",
        "dag.yaml:9:22 stages.a.inputs.shards",
        "dag.yaml:10:13 stages.b.uses",
        "dag.yaml:11:21 stages.cat.seed",
    ]


def test_load_mistake_in_every_cell_is_reported_once(tmp_path: Path) -> None:
    text = SEEDS.replace("{steps: 1}", "{steps: 0}")
    assert problems(tmp_path, text) == [
        "dag.yaml:7:19: stages.a.with.steps: should be greater than 0, not 0."
    ]


def test_load_broken_upstream_brings_no_second_message(tmp_path: Path) -> None:
    text = f"{TRAIN}    with: {{steps: 0}}\n  g: {{uses: ./toys.py:GATHER, inputs: {{scores: a.scores}}}}\n"
    assert problems(tmp_path, text) == [
        "dag.yaml:7:19: stages.a.with.steps: should be greater than 0, not 0."
    ]


def test_load_missing_file_says_so(tmp_path: Path) -> None:
    text = f"{HEAD}profiles: {{cluster: {{on: kubernetes}}}}\n"
    assert problems(tmp_path, text) == []
    (tmp_path / "dag.yaml").unlink()
    with pytest.raises(UserError, match=r"dag.yaml: cannot be read: No such file or directory\."):
        load_dag(tmp_path / "dag.yaml", profile=None, values=(), sets=(), environ={})


def test_load_bytes_that_are_not_text_are_placed(tmp_path: Path) -> None:
    (tmp_path / "dag.yaml").write_bytes(b"name: t\nx: \xff\n")
    with pytest.raises(UserError, match=r"dag.yaml:2:4: byte 0xff is not UTF-8\."):
        load_dag(tmp_path / "dag.yaml", profile=None, values=(), sets=(), environ={})


def test_load_hostile_paths_are_problems(tmp_path: Path) -> None:
    text = 'name: t\nstages:\n  a: {uses: "./x\\0.py:S"}\n  b: {uses: ./loop.py:S}\n'
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    first, second = problems(tmp_path, text)
    assert first.startswith("dag.yaml:3:13: stages.a.uses: ")
    assert second.startswith("dag.yaml:4:13: stages.b.uses: ")


def test_load_variable_that_is_not_text_is_refused(tmp_path: Path) -> None:
    text = f"{TRAIN}    with: {{steps: 1, names: ['${{env.X}}']}}\n"
    assert problems(tmp_path, text, environ={"X": "\udcff"}) == [
        "dag.yaml:7:30: stages.a.with.names.0: the variable X is not UTF-8."
    ]
