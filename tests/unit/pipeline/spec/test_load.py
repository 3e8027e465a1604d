"""What a good DAG file becomes: stages, layers, cells, connections, origins, what is recorded."""

from pathlib import Path

import pytest

from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.dag import Connection, Origin
from pipeline.spec.load import load_text
from tests.builders import TOYS, load
from tests.toys import TrainConfig

TEXT = """\
name: t
seed: 7
params: {steps: 5, batch: 48}
stages:
  a:
    uses: ./toys.py:TRAIN
    with: {steps: "${params.steps}", global_batch_size: "${params.batch}", model: {d_model: 128}}
    inputs: {shards: cut.shards}
    resources: {nodes: 2, processes_per_node: 2}
  cut: {uses: ./toys.py:CUT, seed: 3}
profiles:
  laptop:
    stages.a.resources: {processes_per_node: 2}
    params.batch: 8
  cluster: {on: kubernetes, store: "s3://b/${params.steps}", cluster: {namespace: x}}
"""


def _config(dag_text: str, folder: Path, **layers: object) -> TrainConfig:
    config = load(folder, dag_text, **layers).stages["a"].config  # type: ignore[arg-type]  # the layers of `load`
    values: TrainConfig = config  # type: ignore[assignment]  # of the copy of toys.py in the folder
    return values


def test_load_orders_upstream_first(tmp_path: Path) -> None:
    dag = load(tmp_path, TEXT)
    assert list(dag.stages) == ["cut", "a"]
    assert dag.stages["a"].inputs == {"shards": (Connection("cut", "shards"),)}


def test_load_keeps_file_order_where_it_can(tmp_path: Path) -> None:
    stages = "".join(f"  {name}: {{uses: ./toys.py:CUT}}\n" for name in "zmabq")
    assert list(load(tmp_path, f"name: t\nstages:\n{stages}").stages) == list("zmabq")


def test_load_fills_in_defaults(tmp_path: Path) -> None:
    dag = load(tmp_path, TEXT)
    stage = dag.stages["cut"]
    assert (dag.name, dag.on, dag.store, dag.cluster) == ("t", "local", None, ClusterSettings())
    assert (stage.resources.workers, stage.retry.max_attempts, stage.engine.zero_stage) == (1, 3, 0)
    assert (stage.timeout_seconds, stage.max_parallel, stage.matrix) == (None, None, {})
    assert dag.file == tmp_path / "dag.yaml"


def test_load_mapping_in_a_values_file_leaves_what_it_does_not_name(tmp_path: Path) -> None:
    values = {"v.yaml": "params: {steps: 7}\nstages: {a: {with: {model: {d_model: 32}}}}\n"}
    before, after = (_config(TEXT, tmp_path, values=one) for one in ({}, values))
    assert (after.steps, after.model.d_model) == (7, 32)
    assert (after.global_batch_size, after.model.preset, after.model.num_heads) == (
        before.global_batch_size,
        before.model.preset,
        before.model.num_heads,
    )


@pytest.mark.parametrize(("retry", "errors"), [("", False), (", retry: {max_attempts: 2}", True)])
def test_load_process_without_a_retry_block_fails_at_its_first_error(
    tmp_path: Path, retry: str, *, errors: bool
) -> None:
    text = f"name: t\nstages:\n  a: {{uses: command, with: {{argv: [ls]}}{retry}}}\n"
    assert load(tmp_path, text).stages["a"].retry.errors is errors


def test_load_stage_seed_defaults_to_the_dags(tmp_path: Path) -> None:
    stages = load(tmp_path, TEXT).stages
    assert (stages["a"].seed, stages["cut"].seed) == (7, 3)


def test_load_kind_of_a_file_is_absolute(tmp_path: Path) -> None:
    stage = load(tmp_path, TEXT).stages["a"]
    assert stage.kind == f"{tmp_path}/toys.py:TRAIN"
    assert stage.spec.name == "toy.train"


def test_load_profile_replaces_the_whole_value(tmp_path: Path) -> None:
    stage = load(tmp_path, TEXT, profile="laptop").stages["a"]
    assert (stage.resources.nodes, stage.resources.processes_per_node) == (1, 2)
    assert _config(TEXT, tmp_path, profile="laptop").global_batch_size == 8


def test_load_profile_says_where_to_run(tmp_path: Path) -> None:
    dag = load(tmp_path, TEXT, profile="cluster")
    assert (dag.on, dag.store) == ("kubernetes", "s3://b/5")
    assert dag.cluster == ClusterSettings(namespace="x")


def test_load_relative_store_starts_at_the_dags_folder(tmp_path: Path) -> None:
    dag = load(tmp_path, f"{TEXT}  here: {{store: ../art}}\n", profile="here")
    assert dag.store == str(tmp_path.parent / "art")


def test_load_later_layers_win(tmp_path: Path) -> None:
    values = {"v.yaml": "params.batch: 16\nparams.steps: 6\n", "w.yaml": "params.steps: 7\n"}
    config = _config(TEXT, tmp_path, profile="laptop", values=values)
    assert (config.global_batch_size, config.steps) == (16, 7)
    sets = ["params.steps=8", "stages.a.with.steps=9", "params.batch=4"]
    config = _config(TEXT, tmp_path, profile="laptop", values=values, sets=sets)
    assert (config.global_batch_size, config.steps) == (4, 9)


def test_load_set_deeper_path_changes_one_key(tmp_path: Path) -> None:
    config = _config(TEXT, tmp_path, sets=["stages.a.with.model.num_heads=8"])
    assert (config.model.d_model, config.model.num_heads) == (128, 8)


def test_load_set_replaces_what_stands_at_its_path(tmp_path: Path) -> None:
    config = _config(TEXT, tmp_path, sets=["stages.a.with.model={num_heads: 8}"])
    assert (config.model.d_model, config.model.num_heads) == (64, 8)


def test_load_set_makes_the_blocks_on_its_way(tmp_path: Path) -> None:
    dag = load(tmp_path, TEXT, sets=["stages.a.retry.max_attempts=9", "stages.a.deepspeed={}"])
    assert dag.stages["a"].retry.max_attempts == 9


def test_load_set_reaches_items_of_lists(tmp_path: Path) -> None:
    text = TEXT.replace("model: {d_model: 128}", "names: [p, q]")
    assert _config(text, tmp_path, sets=["stages.a.with.names.1=x"]).names == ("p", "x")


def test_load_set_may_change_where_to_run(tmp_path: Path) -> None:
    dag = load(
        tmp_path, TEXT, profile="cluster", sets=["cluster.image=i:1", "store=s3://c", "seed=1"]
    )
    assert dag.store == "s3://c"
    assert dag.cluster == ClusterSettings(namespace="x", image="i:1")
    assert dag.stages["a"].seed == 1


def test_load_matrix_makes_a_stage_of_every_cell(tmp_path: Path) -> None:
    text = TEXT.replace(
        "    resources: {nodes: 2, processes_per_node: 2}\n",
        "    matrix: {seed: [1, 2], rate: [0.1, 0.5]}\n    seed: ${matrix.seed}\n    max_parallel: 2\n",
    ).replace("model: {d_model: 128}", "dropout: '${matrix.rate}'")
    text = text.replace(
        "  cut:", "  g: {uses: ./toys.py:GATHER, inputs: {scores: a.scores}}\n  cut:"
    )
    stages = load(tmp_path, text).stages
    cells = [
        "a[seed=1,rate=0.1]",
        "a[seed=1,rate=0.5]",
        "a[seed=2,rate=0.1]",
        "a[seed=2,rate=0.5]",
    ]
    assert list(stages) == ["cut", *cells, "g"]
    cell = stages["a[seed=2,rate=0.1]"]
    assert (cell.name, cell.matrix, cell.seed) == ("a", {"seed": 2, "rate": 0.1}, 2)
    assert cell.max_parallel == 2
    assert cell.config.model_dump()["dropout"] == 0.1
    assert stages["g"].inputs["scores"] == tuple(Connection(one, "scores") for one in cells)


def test_load_matrix_connects_cell_by_cell(tmp_path: Path) -> None:
    text = """\
name: t
stages:
  cut: {uses: ./toys.py:CUT}
  a: {uses: ./toys.py:TRAIN, with: {steps: 1}, inputs: {shards: cut.shards},
      matrix: {seed: [1, 2]}, seed: "${matrix.seed}"}
  b: {uses: ./toys.py:TRAIN, with: {steps: 1}, matrix: {seed: [2, 1]}, seed: "${matrix.seed}",
      inputs: {shards: cut.shards, checkpoint: "a[seed=${matrix.seed}].checkpoint"}}
  g: {uses: ./toys.py:GATHER, inputs: {scores: [b.scores, "a[seed=2].scores"]}}
"""
    stages = load(tmp_path, text).stages
    for seed in (1, 2):
        connected = stages[f"b[seed={seed}]"].inputs["checkpoint"]
        assert connected == (Connection(f"a[seed={seed}]", "checkpoint"),)
    gathered = [str(one) for one in stages["g"].inputs["scores"]]
    assert gathered == ["b[seed=2].scores", "b[seed=1].scores", "a[seed=2].scores"]


def test_load_matrix_values_may_come_from_params(tmp_path: Path) -> None:
    text = """\
name: t
params: {seeds: [4, 5]}
stages:
  cut: {uses: ./toys.py:CUT, matrix: {seed: "${params.seeds}"}, seed: "${matrix.seed}"}
"""
    assert list(load(tmp_path, text).stages) == ["cut[seed=4]", "cut[seed=5]"]
    assert list(load(tmp_path, text, sets=["params.seeds=[9]"]).stages) == ["cut[seed=9]"]


def test_load_source_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    text = TEXT.replace("model: {d_model: 128}", "corpus: '*.txt'")
    assert _config(text, tmp_path).corpus == f"{tmp_path}/*.txt"


def test_load_source_may_be_elsewhere_when_the_run_is(tmp_path: Path) -> None:
    text = TEXT.replace("model: {d_model: 128}", "corpus: /mnt/data")
    assert _config(text, tmp_path, profile="cluster").corpus == "/mnt/data"
    text = TEXT.replace("model: {d_model: 128}", "corpus: s3://b/data")
    assert _config(text, tmp_path).corpus == "s3://b/data"


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("stages.a.with.steps", Origin("--set", "--set")),
        ("stages.a.with.global_batch_size", Origin("profile laptop", "F", 14, 19)),
        ("stages.a.with.model.d_model", Origin("file", "F", 7, 93)),
        ("stages.a.with.model.num_heads", Origin("default")),
        ("stages.a.with.dropout", Origin("values V", "V", 1, 24)),
        ("stages.a.resources", Origin("profile laptop", "F", 13, 25)),
        ("stages.a.resources.processes_per_node", Origin("profile laptop", "F", 13, 46)),
        ("stages.a.resources.nodes", Origin("default")),
        ("stages.a.retry.max_attempts", Origin("default")),
        ("stages.a.deepspeed.precision", Origin("default")),
        ("stages.a.seed", Origin("file", "F", 2, 7)),
        ("stages.a.timeout_seconds", Origin("default")),
        ("stages.a.inputs.shards", Origin("file", "F", 8, 22)),
    ],
)
def test_load_knows_the_origin_of_every_value(path: str, origin: Origin, tmp_path: Path) -> None:
    stage = load(
        tmp_path,
        TEXT,
        profile="laptop",
        values={"v.yaml": "stages.a.with.dropout: 0.5\n"},
        sets=["params.steps=3"],
    ).stages["a"]
    found = stage.origins[path]
    names = {f"{tmp_path}/dag.yaml": "F", f"{tmp_path}/v.yaml": "V"}
    layer = found.layer.replace(f"{tmp_path}/v.yaml", "V")
    assert Origin(layer, names.get(found.file, found.file), found.line, found.column) == origin


def test_load_records_references_to_the_environment_not_values(tmp_path: Path) -> None:
    text = """\
name: t
params: {who: "u-${env.WHO}", n: 2}
stages:
  cut: {uses: ./toys.py:CUT, matrix: {seed: [1, "${params.n}"]}, seed: "${matrix.seed}"}
  c: {uses: command, with: {argv: ["${params.who}", "$${env.WHO}", "${params.n}"]}}
profiles: {p: {store: "s3://${env.WHO}"}}
"""
    dag = load(tmp_path, text, profile="p", environ={"WHO": "secret"})
    assert dag.store == "s3://secret"
    assert "secret" not in str(dag.resolved)
    assert dag.resolved == {
        "name": "t",
        "params": {"who": "u-${env.WHO}", "n": 2},
        "stages": {
            "cut": {
                "uses": "./toys.py:CUT",
                "matrix": {"seed": [1, 2]},
                "seed": "${matrix.seed}",
            },
            "c": {
                "uses": "command",
                "with": {"argv": ["u-${env.WHO}", "$${env.WHO}", 2]},
            },
        },
        "store": "s3://${env.WHO}",
    }
    assert dag.stages["c"].config.model_dump()["argv"] == ("u-secret", "${env.WHO}", "2")
    assert dag.stages["c"].origins["stages.c.with.argv.0"].environment == ("WHO",)


def test_load_text_needs_no_file(tmp_path: Path) -> None:
    text = f"name: t\nstages: {{cut: {{uses: '{TOYS}:CUT'}}}}\n"
    dag = load_text(
        text,
        tmp_path / "gone.yaml",
        profile=None,
        values=[("gone-too.yaml", "stages.cut.seed: 4")],
        sets=[],
        environ={},
    )
    assert dag.stages["cut"].seed == 4


def test_load_same_text_gives_the_same_dag(tmp_path: Path) -> None:
    first, second = load(tmp_path, TEXT), load(tmp_path, TEXT)
    assert first.stages["cut"].config == second.stages["cut"].config
    assert first.resolved == second.resolved


def test_load_gives_a_cell_the_origins_of_its_own_axes_alone(tmp_path: Path) -> None:
    text = (
        "name: t\nstages:\n"
        "  cut: {uses: ./toys.py:CUT, matrix: {seed: [1, 2, 3]}, seed: '${matrix.seed}'}\n"
    )
    origins = load(tmp_path, text).stages["cut[seed=2]"].origins
    found = {path: origin.column for path, origin in origins.items() if "matrix." in path}
    assert found == {"stages.cut.matrix.seed": 45, "stages.cut.matrix.seed.0": 49}
