"""What is refused before anything is applied, and where the fix is named."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.executors.kubernetes.manifest.checks import check_cluster, check_sources_are_here
from pipeline.spec.dag import Dag
from pipeline.spec.load import load_text

TEXT = """\
name: reviews
stages:
  tokenizer:
    uses: data_prep.tokenizer
    with: {source: SOURCE, vocab_size: 500}
profiles:
  cluster:
    on: kubernetes
    store: file:///artifacts/x
    cluster: {image: "i:1", volumes: {artifacts: {claim: a}, data: {claim: d, read_only: true}}}
"""


def _dag(source: str = "/data/*.txt", sets: tuple[str, ...] = (), text: str = TEXT) -> Dag:
    return load_text(
        text.replace("SOURCE", source),
        Path("/home/me/dag.yaml"),
        profile="cluster",
        values=(),
        sets=sets,
        environ={"WORD": "hunter2"},
    )


def test_dag_whose_folders_pods_see_passes() -> None:
    check_cluster(_dag())
    check_cluster(_dag("s3://bucket/*.txt", ("store=s3://bucket/store",)))


@pytest.mark.parametrize(
    ("source", "sets", "message"),
    [
        ("/data/x", ("cluster={volumes: {artifacts: {claim: a}, data: {claim: d}}}",), "no image"),
        ("/data/x", ("store=.pipeline",), "which pods do not see. Set store to a folder below"),
        ("/data/x", ("store=/data/x",), "lies on the volume data, which is read-only"),
        (
            "texts/*.txt",
            (),
            "dag.yaml:5:20: stages.tokenizer.with.source: pods do not see /home/me",
        ),
        ("/data2/x", (), "pods do not see /data2/x. Put it below the mount"),
        ('"/data/${env.WORD}"', (), r"takes ${env.WORD}, which pods do not have. Set cluster.env"),
    ],
)
def test_what_pods_could_not_find_is_refused_with_the_fix(
    source: str, sets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        check_cluster(_dag(source, sets))
    assert message in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UserError) as refused:
        check_cluster(_dag("x.txt", ("store=y", "cluster={}")))
    assert len(refused.value.problems) == 3


def test_source_that_only_pods_see_cannot_be_keyed_here() -> None:
    with pytest.raises(UserError, match="so the key of what is made from it is unknown"):
        check_sources_are_here(_dag())


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("{imagee: x}", "dag.yaml:10:15: cluster.imagee: unknown key. Did you mean image?"),
        ("{gang: mpi}", "should be 'jobset' or 'job'"),
        ("{user: 0}", "should be greater than 0"),
        ("{pod: {containers: []}}", "containers cannot be set here"),
        ("{volumes: {a: {}}}", "name either `claim` or `host_path`"),
        ("{volumes: {A: {claim: x}}}", "should match"),
        ("{priority: high}", "name a `queue`"),
        ("{env: {A: {secret: s}}}", "is required"),
        ("{grace_seconds: 5}", "should be greater than or equal to 10"),
    ],
)
def test_settings_are_checked_at_their_lines(cluster: str, message: str) -> None:
    line = next(line for line in TEXT.splitlines() if "cluster: {" in line)
    text = TEXT.replace(line, f"    cluster: {cluster}")
    with pytest.raises(UserError) as refused:
        _dag(text=text)
    assert message in str(refused.value)
    assert "dag.yaml:10:" in str(refused.value)
