"""A DAG run by pods and the same file run on this machine: the same artifacts, bit for bit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cache import Results
from pipeline.executors.kubernetes.manifest.whole import RenderedStage, render_stages
from pipeline.spec.load import load_dag
from pipeline.storage import Store
from tests.kubelet import Kubelet, Pod
from tests.terminal import pipeline

DAG = """\
name: both
seed: 5
stages:
  prose: {uses: data_prep.synthetic, with: {kind: text, documents: 120}}
  tokenizer:
    uses: data_prep.tokenizer
    inputs: {text: prose.folder}
    with: {vocab_size: 200}
  shards:
    uses: data_prep.text
    inputs: {text: prose.folder, tokenizer: tokenizer.tokenizer}
    with: {validation_fraction: 0.1}
    resources: {workers: 2}
  pretrain:
    uses: xlnet.pretrain
    inputs: {shards: shards.shards, tokenizer: tokenizer.tokenizer}
    with:
      model: {preset: tiny}
      rows: {seq_len: 32, reuse_len: 16, mem_len: 16, perm_size: 16, num_predict: 5}
      train: {steps: 4, global_batch_size: 4, optimizer: {learning_rate: 1.0e-3}}
    deepspeed: {zero_stage: 1}
    resources: {nodes: 2}
profiles:
  cluster:
    on: kubernetes
    store: STORE
    cluster: {image: "i:1", volumes: {store: {host_path: FOLDER, mount: FOLDER}}}
"""


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    kubelet = Kubelet(tmp_path / "pods")
    yield kubelet
    kubelet.close()


@pytest.mark.slow
def test_pods_on_two_nodes_make_what_two_local_agents_make(
    tmp_path: Path, kubelet: Kubelet
) -> None:
    (tmp_path / "volume").mkdir()
    remote = Store(tmp_path / "volume" / "store")
    file = tmp_path / "dag.yaml"
    file.write_text(DAG.replace("STORE", remote.url).replace("FOLDER", str(tmp_path / "volume")))
    dag = load_dag(file, profile="cluster", values=(), sets=(), environ={})
    rendered = render_stages(dag, environ={}, workdir=tmp_path)
    for stage in rendered:
        pods = [kubelet.start(stage.objects, index=index) for index in range(_pods(stage))]
        assert [pod.wait(300) for pod in pods] == [0] * len(pods), _outputs(pods)
    local = Store(tmp_path / "local")
    said = pipeline(tmp_path, "run", str(file), "--store", local.url)
    assert said.code == 0, said.err
    assert {stage.address: _artifacts(remote, stage) for stage in rendered} == {
        stage.address: _artifacts(local, stage) for stage in rendered
    }


def _pods(stage: RenderedStage) -> int:
    spec = stage.objects[0]["spec"]
    if "replicatedJobs" in spec:
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return int(spec["completions"])


def _artifacts(store: Store, stage: RenderedStage) -> dict[str, str]:
    key = stage.objects[0]["metadata"]["annotations"]["pipeline/plan-key"]
    result = Results(store).lookup(key)
    assert result is not None, stage.address
    return result.artifacts


def _outputs(pods: list[Pod]) -> str:
    return "\n".join(pod.output[-3000:] for pod in pods)
