"""Every DAG file that ships loads, under each of its profiles."""

from pathlib import Path

import pytest

from pipeline.spec.load import load_dag

ROOT = Path(__file__).parents[3]
IMDB = ROOT / "examples/imdb/dag.yaml"
FILES = sorted({*ROOT.glob("stages/*/dags/*.yaml"), *ROOT.glob("examples/*/dag.yaml")} - {IMDB})


def _load(file: Path, profile: str | None, sets: tuple[str, ...] = ()) -> list[str]:
    dag = load_dag(file, profile=profile, values=(), sets=sets, environ={})
    return [stage.spec.name for stage in dag.stages.values()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_shipped_dag_loads(file: Path) -> None:
    assert _load(file, None)


@pytest.mark.parametrize("file", sorted(ROOT.glob("stages/*/dags/tiny.yaml")), ids=str)
def test_tiny_dag_ends_with_a_check(file: Path) -> None:
    assert _load(file, None)[-1] == "check"


@pytest.mark.parametrize("profile", [None, "laptop", "cluster"])
def test_imdb_loads_on_a_folder_laid_out_like_the_data(tmp_path: Path, profile: str | None) -> None:
    for folder in ("train/unsup", "train/pos", "train/neg", "test/pos", "test/neg"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "0_0.txt").write_text("A film.")
    names = _load(IMDB, profile, (f"params.data={tmp_path}",))
    assert names.count("xlnet.classify") >= 2
    assert names[-1] == "compare"
