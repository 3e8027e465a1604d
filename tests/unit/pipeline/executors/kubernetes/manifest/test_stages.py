"""What a cluster gets for a stage, and what it makes of how pods end."""

from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.executors.kubernetes.manifest.order import make_order
from pipeline.executors.kubernetes.manifest.stages import Owner, stage_objects
from pipeline.spec.cluster import ClusterSettings, SecretKey, Topology, Volume
from pipeline.spec.job import EnvironmentValue, Job
from pipeline.spec.resources import Resources, Retry
from tests.jobs import job_of
from tests.kubelet import pod_template
from tests.manifests import check, job_failure, jobset_action

SETTINGS = ClusterSettings(image="pipeline:1", volumes={"data": Volume(claim="data")})
JOB = {"pipeline": "dag", "stage": "pretrain", "plan_key": "ab" * 32, "content_key": "cd" * 32}
FREE, COUNTED, NEVER = "RestartJobSetAndIgnoreMaxRestarts", "RestartJobSet", "FailJobSet"


def _job(**fields: Any) -> Job:
    return job_of(**JOB | fields)


def _objects(job: Job, **settings: Any) -> list[dict[str, Any]]:
    changed = SETTINGS.model_copy(update=settings)
    objects = stage_objects(make_order(job, changed, environ={}), changed)
    for one in objects:
        check(one)
    return objects


def _pod(job: Job, **settings: Any) -> dict[str, Any]:
    spec: dict[str, Any] = pod_template(_objects(job, **settings)[0])["spec"]
    return spec


def _container(job: Job, **settings: Any) -> dict[str, Any]:
    (container,) = _pod(job, **settings)["containers"]
    assert isinstance(container, dict)
    return container


def test_gang_becomes_one_jobset_with_a_stable_name_for_node_0() -> None:
    (jobset,) = _objects(_job(launch="gang", nodes=4))
    name = jobset["metadata"]["name"]
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (4, 4, 0)
    assert job["completionMode"] == "Indexed"
    (container,) = pod_template(jobset)["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["PIPELINE_MEETING_ADDRESS"] == f"{name}-node-0-0.{name}"
    assert jobset["spec"]["network"]["subdomain"] == name


def test_gang_as_job_has_a_headless_service_that_names_pods_before_they_are_ready() -> None:
    job, service = _objects(_job(launch="gang", nodes=2), gang="job")
    name = job["metadata"]["name"]
    assert (service["metadata"]["name"], service["spec"]["clusterIP"]) == (name, "None")
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert pod_template(job)["spec"]["subdomain"] == name
    (container,) = pod_template(job)["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["PIPELINE_MEETING_ADDRESS"] == f"{name}-0.{name}"
    assert job["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize(
    ("exit_code", "disrupted", "action"),
    [
        (64, False, NEVER),
        (65, False, NEVER),
        (66, False, NEVER),
        (70, False, NEVER),
        (78, False, NEVER),
        (70, True, NEVER),
        (75, False, FREE),
        (75, True, FREE),
        (143, True, FREE),
        (137, True, FREE),
        (1, False, COUNTED),
        (74, False, COUNTED),
        (6, False, COUNTED),
        (124, False, COUNTED),
        (137, False, COUNTED),
        (165, False, COUNTED),
    ],
)
def test_gang_is_restarted_by_what_ended_a_pod(
    exit_code: int, disrupted: bool, action: str
) -> None:
    (jobset,) = _objects(_job(launch="gang", nodes=2, retry=Retry(max_attempts=5)))
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    end = job_failure(job["podFailurePolicy"]["rules"], exit_code=exit_code, disrupted=disrupted)
    reason, message = end if isinstance(end, tuple) else ("BackoffLimitExceeded", "has failed")
    policy = jobset["spec"]["failurePolicy"]
    assert jobset_action(policy, reason, message) == action
    assert policy["maxRestarts"] == 4


@pytest.mark.parametrize("launch", ["workers", "process"])
@pytest.mark.parametrize(
    ("exit_code", "disrupted", "action"),
    [
        (65, False, "PodFailurePolicy"),
        (78, True, "PodFailurePolicy"),
        (75, False, "Ignore"),
        (137, True, "Ignore"),
        (137, False, "Count"),
        (1, False, "Count"),
    ],
)
def test_single_pods_are_tried_again_by_what_ended_them(
    launch: str, exit_code: int, disrupted: bool, action: str
) -> None:
    (job,) = _objects(_job(launch=launch))
    rules = job["spec"]["podFailurePolicy"]["rules"]
    end = job_failure(rules, exit_code=exit_code, disrupted=disrupted)
    assert (end if isinstance(end, str) else end[0]) == action


def test_workers_are_pods_of_their_own_and_retried_one_by_one() -> None:
    (job,) = _objects(
        _job(launch="workers", nodes=1, processes_per_node=7, retry=Retry(max_attempts=3))
    )
    assert (job["spec"]["completions"], job["spec"]["backoffLimitPerIndex"]) == (7, 2)
    container = pod_template(job)["spec"]["containers"][0]
    assert container["resources"]["requests"]["cpu"] == "1"


def test_resources_ask_for_what_all_ranks_of_a_node_need() -> None:
    resources = Resources(memory="4GiB", shm="2GiB", disk="10GiB", gpus_per_node=8)
    job = _job(
        launch="gang",
        nodes=2,
        processes_per_node=8,
        gpus_per_node=8,
        cpus_per_process=6,
        resources=resources,
    )
    pod = _pod(job, gpu_resource="amd.com/gpu")
    expected = {
        "memory": str((8 * 4 + 2) * 2**30 + 2**28),  # /dev/shm counts, and the agent
        "ephemeral-storage": str(10 * 2**30),
        "amd.com/gpu": "8",
    }
    found = pod["containers"][0]["resources"]
    assert found == {"requests": {"cpu": "48", **expected}, "limits": expected}
    volumes = {one["name"]: one for one in pod["volumes"]}
    shm = {"medium": "Memory", "sizeLimit": str(2 * 2**30)}
    assert volumes["shm"]["emptyDir"] == shm
    assert volumes["scratch"]["emptyDir"] == {"sizeLimit": str(10 * 2**30)}


def test_stage_without_gpus_asks_for_none() -> None:
    assert _container(_job(launch="gang"))["resources"] == {"requests": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("save_seconds", "grace"), [(None, 120), (10.0, 120), (100.5, 201)], ids=str
)
def test_grace_is_twice_a_save_and_never_below_the_floor(
    save_seconds: float | None, grace: int
) -> None:
    order = make_order(_job(launch="gang"), SETTINGS, environ={}, save_seconds=save_seconds)
    assert order.job.grace_seconds == grace
    pod = pod_template(stage_objects(order, SETTINGS)[0])["spec"]
    assert pod["terminationGracePeriodSeconds"] == grace + 15


def test_pods_of_stages_have_no_token_and_may_write_to_volumes_alone() -> None:
    pod = _pod(_job(launch="gang", nodes=2))
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    mounts = {one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/etc/pipeline", "/dev/shm", "/scratch", "/tmp", "/data"}
    for one in pod["containers"][0]["env"]:
        if one["name"] in ("HOME", "TMPDIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
            assert one["value"].startswith("/scratch/")


def test_probes_ask_the_agent() -> None:
    container = _container(_job(launch="gang"), startup_seconds=61)
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "agent"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "agent"}
    assert container["startupProbe"]["failureThreshold"] == 13  # of 5 seconds each


def test_kueue_gets_queue_priority_and_topology() -> None:
    job = _job(launch="gang", nodes=2)
    (jobset,) = _objects(job, queue="gpu", priority="batch", topology="cloud/rack")
    labels = jobset["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpu"
    assert labels["kueue.x-k8s.io/priority-class"] == "batch"
    annotations = pod_template(jobset)["metadata"]["annotations"]
    assert annotations["kueue.x-k8s.io/podset-preferred-topology"] == "cloud/rack"
    (jobset,) = _objects(job, queue="gpu", topology=Topology(required="cloud/rack"))
    annotations = pod_template(jobset)["metadata"]["annotations"]
    assert annotations["kueue.x-k8s.io/podset-required-topology"] == "cloud/rack"
    (plain,) = _objects(job)
    assert "kueue" not in str(plain)


def test_pod_overlay_is_laid_over_every_pod() -> None:
    toleration = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
    pod = _pod(
        _job(),
        pod={
            "nodeSelector": {"pool": "a100"},
            "tolerations": [toleration],
            "securityContext": {"fsGroup": 7},
            "volumes": [{"name": "fast", "emptyDir": {}}],
        },
        container={
            "volumeMounts": [{"name": "fast", "mountPath": "/fast"}],
            "env": [{"name": "HOME", "value": "/fast"}],
        },
        pull_secrets=["registry"],
        priority_class="high",
    )
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert pod["tolerations"] == [toleration]
    assert pod["securityContext"]["fsGroup"] == 7
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["priorityClassName"] == "high"
    homes = [one for one in pod["containers"][0]["env"] if one["name"] == "HOME"]
    assert homes == [{"name": "HOME", "value": "/fast"}]


def test_secret_is_a_reference_and_its_value_stands_nowhere() -> None:
    job = _job(
        config={"url": "https://u:hunter2@host/x", "port": 5433, "plain": "x"},
        environment=(
            EnvironmentValue(path=("url",), variables=("USER", "PASSWORD")),
            EnvironmentValue(path=("port",), variables=("PORT",)),
        ),
    )
    secret = SecretKey(secret="s", key="k")
    settings = SETTINGS.model_copy(
        update={"env": {"PASSWORD": secret, "USER": "u", "PORT": secret}}
    )
    environ = {"PASSWORD": "hunter2", "USER": "u", "PORT": "5433"}
    order = make_order(job, settings, environ=environ)
    objects = stage_objects(order, settings)
    check(objects[0])
    assert "hunter2" not in str(objects)
    assert "5433" not in str(objects)
    # One variable's value may be part of the text around another's.
    templates = {one.path: one.template for one in order.sealed}
    assert templates[("port",)] == "${env.PORT}"
    assert templates[("url",)].endswith(":${env.PASSWORD}@host/x")
    reference = {"secretKeyRef": {"name": "s", "key": "k"}}
    (container,) = pod_template(objects[0])["spec"]["containers"]
    assert {"name": "PASSWORD", "valueFrom": reference} in container["env"]


def test_variable_that_pods_do_not_have_is_refused_with_the_fix() -> None:
    job = _job(
        config={"a": "x"}, environment=(EnvironmentValue(path=("a",), variables=("TOKEN",)),)
    )
    with pytest.raises(UserError, match=r"with\.a takes \$\{env\.TOKEN\}.*Set cluster\.env\.TOKEN"):
        make_order(job, SETTINGS, environ={"TOKEN": "x"})


def test_configuration_that_no_object_can_hold_is_refused() -> None:
    order = make_order(_job(config={"list": ["x" * 100] * 3000}), SETTINGS, environ={})
    with pytest.raises(UserError, match="a pod can be told 200000"):
        stage_objects(order, SETTINGS)


def test_stage_without_an_image_is_refused() -> None:
    settings = ClusterSettings()
    with pytest.raises(UserError, match=r"set cluster\.image"):
        stage_objects(make_order(_job(), settings, environ={}), settings)


def test_owner_takes_the_objects_with_it() -> None:
    order = make_order(_job(launch="gang"), SETTINGS, environ={})
    owner = Owner("batch/v1", "Job", "runner", "u-1")
    (jobset,) = stage_objects(order, SETTINGS, owner=owner)
    check(jobset)
    (reference,) = jobset["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["uid"]) == ("Job", "u-1")


def test_host_folder_must_be_there_since_a_new_one_would_be_roots() -> None:
    pod = _pod(_job(), volumes={"store": Volume(host_path="/srv/store", mount="/artifacts")})
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["v-store"]["hostPath"] == {"path": "/srv/store", "type": "Directory"}
