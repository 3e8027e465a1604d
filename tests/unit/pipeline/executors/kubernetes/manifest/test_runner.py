"""The runner's Job and ConfigMap."""

import pytest

from pipeline.errors import UserError
from pipeline.executors.kubernetes.manifest.runner import RunRequest, runner_objects
from pipeline.spec.cluster import ClusterSettings, SecretKey
from tests.manifests import check, check_schema, job_failure

SETTINGS = ClusterSettings(image="i:1", env={"TOKEN": SecretKey(secret="s", key="k")})
REQUEST = RunRequest(
    dag="Big.Dag_" + "x" * 200,
    text="name: x\n",
    profile="p",
    values=["a: 1\n"],
    sets=["b=2"],
    arguments=["--until", "pretrain"],
)


def test_runner_is_one_job_that_reads_its_files_from_one_config_map() -> None:
    config_map, job = runner_objects(REQUEST, SETTINGS)
    check_schema(config_map)
    check(job)
    assert config_map["data"] == {"dag.yaml": "name: x\n", "values-0.yaml": "a: 1\n"}
    pod = job["spec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == config_map["metadata"]["name"]
    command = " ".join(pod["containers"][0]["command"])
    assert command.startswith("pipeline run /etc/pipeline/dag/dag.yaml --until pretrain")
    assert "--profile p --values /etc/pipeline/dag/values-0.yaml --set b=2" in command
    assert pod["serviceAccountName"] == "pipeline-runner"
    assert pod["automountServiceAccountToken"] is True


def test_runner_of_another_text_has_another_name() -> None:
    other = RunRequest(dag=REQUEST.dag, text="name: y\n")
    names = {
        runner_objects(one, SETTINGS)[0]["metadata"]["name"] for one in (REQUEST, other, REQUEST)
    }
    assert len(names) == 2


@pytest.mark.parametrize(
    ("exit_code", "disrupted", "action"),
    [
        (1, False, "PodFailurePolicy"),
        (2, False, "PodFailurePolicy"),
        (4, False, "PodFailurePolicy"),
        (5, False, "PodFailurePolicy"),
        (4, True, "Ignore"),
        (3, False, "Count"),
        (137, False, "Count"),
    ],
)
def test_runner_is_started_again_where_that_may_help(
    exit_code: int, disrupted: bool, action: str
) -> None:
    _, job = runner_objects(REQUEST, SETTINGS)
    rules = job["spec"]["podFailurePolicy"]["rules"]
    end = job_failure(rules, exit_code=exit_code, disrupted=disrupted)
    assert (end if isinstance(end, str) else end[0]) == action


def test_runner_of_a_text_no_config_map_holds_is_refused() -> None:
    with pytest.raises(UserError, match="900000 can be applied"):
        runner_objects(RunRequest(dag="d", text="x" * 900_001), SETTINGS)
