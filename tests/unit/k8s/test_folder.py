"""What k8s/ holds: valid objects, no right too many, examples that are what is rendered today."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.executors.kubernetes.manifest.runner import RunRequest, runner_objects
from pipeline.executors.kubernetes.manifest.text import to_yaml
from pipeline.executors.kubernetes.manifest.whole import render_stages
from pipeline.spec.dag import Dag
from pipeline.spec.load import load_dag
from tests.manifests import check, check_schema

ROOT = Path(__file__).parents[3]
K8S = ROOT / "k8s"
QUICKSTART = ROOT / "examples/quickstart/dag.yaml"
FILES = sorted(
    path
    for folder in ("base", "overlays/cpu-test", "overlays/gpu", "overlays/object-store")
    for path in (K8S / folder).glob("*.yaml")
    if path.name != "kustomization.yaml"
)


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe", pure=True).load_all(path))


def _base() -> dict[str, dict[str, Any]]:
    found = [one for path in sorted((K8S / "base").glob("*.yaml")) for one in _documents(path)]
    return {f"{one['kind']}/{one.get('metadata', {}).get('name')}": one for one in found}


@pytest.fixture(scope="module")
def quickstart() -> Dag:
    return load_dag(QUICKSTART, profile="cluster", values=(), sets=(), environ={})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(K8S)))
def test_shipped_object_is_valid(path: Path) -> None:
    for one in _documents(path):
        check_schema(one)


@pytest.mark.parametrize("path", sorted(K8S.rglob("kustomization.yaml")), ids=str)
def test_kustomization_names_files_that_are_there(path: Path) -> None:
    (found,) = _documents(path)
    for name in found.get("resources", ()):
        assert (path.parent / name).exists()


@pytest.mark.parametrize("name", ["cpu-test", "gpu", "host-path"])
def test_overlay_can_be_applied_over_base(name: str) -> None:
    (found,) = _documents(K8S / "overlays" / name / "kustomization.yaml")
    # All fields of a claim are fixed when it is made: one that differs from base's is refused.
    assert {one["target"]["kind"] for one in found.get("patches", ())} <= {"Namespace"}
    added = [
        one
        for file in found["resources"]
        if file.endswith(".yaml")
        for one in _documents(K8S / "overlays" / name / file)
    ]
    base = _base()
    assert not [one for one in added if f"{one['kind']}/{one['metadata']['name']}" in base]
    claim = base["PersistentVolumeClaim/pipeline-artifacts"]["spec"]
    for one in added:
        if one["kind"] == "StorageClass":
            assert one["metadata"]["name"] == claim["storageClassName"]
        if one["kind"] == "PersistentVolume":
            assert one["spec"]["storageClassName"] == claim["storageClassName"]
            assert one["spec"]["accessModes"] == claim["accessModes"]
            assert one["spec"]["capacity"] == claim["resources"]["requests"]


def test_namespace_lets_in_restricted_pods_only() -> None:
    labels = _base()["Namespace/pipeline"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_runner_has_no_wildcard_no_secrets_and_no_other_namespace() -> None:
    base = _base()
    assert not [name for name in base if name.startswith("Cluster")]
    rules = base["Role/pipeline-runner"]["rules"]
    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    resources = {name for rule in rules for name in rule["resources"]}
    assert not resources & {"secrets", "pods/exec", "serviceaccounts", "roles", "configmaps"}


def test_settings_default_to_what_base_installs(quickstart: Dag) -> None:
    base = _base()
    settings = quickstart.cluster
    assert f"Namespace/{settings.namespace}" in base
    assert f"ServiceAccount/{settings.service_account}" in base
    for volume in settings.volumes.values():
        assert f"PersistentVolumeClaim/{volume.claim}" in base


def test_network_policies_fit_the_labels_of_pods(quickstart: Dag, tmp_path: Path) -> None:
    base = _base()
    (first, *_) = render_stages(quickstart, environ={}, workdir=tmp_path)
    stage = first.objects[0]["spec"]["template"]["metadata"]["labels"]
    runner = _runner(quickstart)[1]["spec"]["template"]["metadata"]["labels"]
    for name, labels in (("pipeline-stages", stage), ("pipeline-runners", runner)):
        selector = base[f"NetworkPolicy/{name}"]["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= labels.items()


def test_example_of_the_runner_is_what_is_rendered(quickstart: Dag) -> None:
    objects = _runner(quickstart)
    for one in objects:
        check_schema(one)
    shipped = (K8S / "examples/quickstart/runner.yaml").read_text()
    assert shipped == to_yaml(objects), (
        "render k8s/examples anew: pipeline render examples/quickstart/dag.yaml -p cluster "
        "-o k8s/examples/quickstart"
    )


def test_example_of_the_stages_is_what_is_rendered_but_for_keys(
    quickstart: Dag, tmp_path: Path
) -> None:
    rendered = render_stages(quickstart, environ={}, workdir=tmp_path)
    for stage in rendered:
        for one in stage.objects:
            check(one)
    folder = K8S / "examples/quickstart-stages"
    names = _documents(folder / "kustomization.yaml")[0]["resources"]
    shipped = [one for name in names for one in _documents(folder / name)]
    objects = [one for stage in rendered for one in stage.objects]
    assert [_masked(one) for one in shipped] == [_masked(one) for one in objects], (
        "render k8s/examples anew: pipeline render examples/quickstart/dag.yaml -p cluster "
        "--stages -o k8s/examples/quickstart-stages"
    )


def _runner(dag: Dag) -> list[dict[str, Any]]:
    request = RunRequest(dag=dag.name, text=QUICKSTART.read_text(), profile="cluster")
    return runner_objects(request, dag.cluster)


def _masked(item: Any) -> Any:
    """Without what changes with every line of code: keys, and the order that holds them."""
    if isinstance(item, dict):
        return {key: _masked(value) for key, value in item.items() if key != "pipeline/order"}
    if isinstance(item, list):
        return [_masked(one) for one in item]
    if isinstance(item, str):
        return re.sub(r"[0-9a-f]{32,64}|(?<=-)[0-9a-f]{10}(?=-a1)", "KEY", item)
    return item
