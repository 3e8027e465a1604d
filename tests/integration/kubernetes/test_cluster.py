"""Against the cluster that KUBECONFIG names: PIPELINE_TEST_IMAGE must hold this code.

PIPELINE_TEST_FOLDER is a folder that this machine and all nodes see under the same path;
PIPELINE_TEST_NAMESPACE (default: pipeline) has what k8s/base installs.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.doctor import examine
from pipeline.runner.journal import list_runs, load_run
from pipeline.runner.state import RunState
from pipeline.spec.cluster import ClusterSettings
from pipeline.storage import Store
from tests.integration.kills import COMMAND

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not {"KUBECONFIG", "PIPELINE_TEST_IMAGE", "PIPELINE_TEST_FOLDER"} <= os.environ.keys(),
        reason="no cluster is named",
    ),
]
TOYS = Path(__file__).parents[1] / "runner" / "toys.py"
GANG: dict[str, Any] = {
    "uses": "./toys.py:GANG",
    "with": {"units": 40, "pause_ms": 250},
    "resources": {"nodes": 2},
}
WAIT_SECONDS = 600


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(os.environ["PIPELINE_TEST_FOLDER"], uuid.uuid4().hex)
    made.mkdir(parents=True)
    made.chmod(0o777)
    shutil.copy(TOYS, made)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def _settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "namespace": os.environ.get("PIPELINE_TEST_NAMESPACE", "pipeline"),
        "image": os.environ["PIPELINE_TEST_IMAGE"],
        "pull_policy": "IfNotPresent",
        "volumes": {"all": {"host_path": str(folder), "mount": str(folder)}},
        **more,
    }


def _run(folder: Path, stages: dict[str, Any], **more: Any) -> RunState:
    place = {"on": "kubernetes", "store": f"file://{folder}/store"}
    dag = {
        "name": "cluster-test",
        "stages": stages,
        "profiles": {"here": {**place, "cluster": _settings(folder, **more)}},
    }
    (folder / "dag.yaml").write_text(json.dumps(dag))
    command = [*COMMAND, "run", "dag.yaml", "--profile", "here"]
    subprocess.run(command, cwd=folder, timeout=WAIT_SECONDS, check=False)
    store = Store(str(folder / "store"))
    return load_run(store, list_runs(store)[-1])


def test_cluster_is_fit(folder: Path) -> None:
    settings = ClusterSettings.model_validate(_settings(folder))
    cluster = Cluster(settings.namespace, kubeconfig=os.environ["KUBECONFIG"])
    found = list(examine(cluster, settings, needs_gpus=False))
    assert [one for one in found if one.fix] == []


@pytest.mark.parametrize("gang", ["jobset", "job"])
def test_gang_runs_to_its_end(folder: Path, gang: str) -> None:
    assert _run(folder, {"gang": GANG}, gang=gang).counts() == {"done": 1}


def test_image_that_does_not_exist_is_explained(folder: Path) -> None:
    failure = _run(folder, {"gang": GANG}, image="registry.invalid/none:1").stages["gang"].failure
    assert failure is not None
    assert "registry.invalid/none:1" in failure.cause


def test_stage_larger_than_any_node_is_explained(folder: Path) -> None:
    huge = {**GANG, "resources": {"nodes": 2, "cpus_per_process": 10_000}}
    failure = _run(folder, {"gang": huge}).stages["gang"].failure
    assert failure is not None
    assert "Insufficient cpu" in failure.cause
