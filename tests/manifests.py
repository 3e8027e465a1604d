"""Rendered objects as a cluster would look at them: schemas, and the rules that schemas do not hold."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]  # no stubs
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.kubelet import pod_template

KUBERNETES = "1.36"
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
RULE_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
MAX_ANNOTATION_BYTES = 256 * 1024
Object = Mapping[str, Any]


def check(item: Object) -> None:
    """Fails where a cluster would refuse the object, or silently do something else."""
    check_schema(item)
    _check_metadata(item["metadata"])
    if item["kind"] not in ("Job", "JobSet"):
        return
    job = item["spec"]
    if item["kind"] == "JobSet":
        job = _check_jobset(item)
    pods = job.get("completions", 1)
    suffix = f"-node-0-{pods - 1}" if item["kind"] == "JobSet" else f"-{pods - 1}"
    # What a controller appends, random characters of the pod's name included.
    assert DNS_LABEL.fullmatch(f"{item['metadata']['name']}{suffix}-x7k2p")
    _check_job(job)
    _check_metadata(pod_template(item)["metadata"])
    _check_pod(pod_template(item)["spec"])


def check_schema(item: Object) -> None:
    """Strict: an unknown field fails."""
    if item["kind"] != "JobSet":
        _validator(item["kind"], item["apiVersion"]).validate(item)
        return
    model = JobsetV1alpha2JobSet.from_dict(dict(item))
    assert model is not None
    assert model.to_dict() == item  # an unknown field would be lost on the way
    for replicated in item["spec"]["replicatedJobs"]:
        template = replicated["template"]
        check_schema({"apiVersion": "batch/v1", "kind": "Job", **template})


@cache
def _validator(kind: str, api_version: str) -> Draft202012Validator:
    """Of a built-in kind: what `kubernetes_validate.validate` builds anew for each object."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    folder = f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict"
    schema, definitions = (
        Resource.from_contents(schema_contents(f"{folder}/{name}", KUBERNETES))
        for name in (f"{kind.lower()}-{group}.json", "_definitions.json")
    )
    registry: Registry[Any] = definitions @ (schema @ Registry())
    return Draft202012Validator(schema.contents, registry=registry)


def _check_jobset(item: Object) -> Object:
    spec = item["spec"]
    (replicated,) = spec["replicatedJobs"]
    assert replicated["replicas"] == 1
    assert DNS_LABEL.fullmatch(spec["network"]["subdomain"])
    targets = {replicated["name"]}
    assert set(spec["successPolicy"]["targetReplicatedJobs"]) <= targets
    rules = spec["failurePolicy"]["rules"]
    assert len({rule["name"] for rule in rules}) == len(rules)
    for rule in rules:
        assert RULE_NAME.fullmatch(rule["name"])
        assert set(rule["targetReplicatedJobs"]) <= targets
        for pattern in rule["onJobFailureMessagePatterns"]:
            re.compile(pattern)
    # The JobSet's own applies; one of a child would remove it under the JobSet.
    job: Object = replicated["template"]["spec"]
    assert "ttlSecondsAfterFinished" not in job
    return job


def _check_job(job: Object) -> None:
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy needs it
    assert job["podReplacementPolicy"] == "Failed"  # as well
    assert job["parallelism"] == job["completions"] > 0
    if "backoffLimitPerIndex" in job:
        assert job["completionMode"] == "Indexed"
        assert "backoffLimit" not in job
    rules = job["podFailurePolicy"]["rules"]
    assert 0 < len(rules) <= 20
    containers = {one["name"] for one in pod["containers"]}
    for rule in rules:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
        if codes := rule.get("onExitCodes"):
            assert codes["containerName"] in containers
            assert codes["values"] == sorted(set(codes["values"]))
            assert all(0 < code <= 255 for code in codes["values"])


def _check_pod(pod: Object) -> None:
    volumes = [one["name"] for one in pod["volumes"]]
    assert len(set(volumes)) == len(volumes)
    assert all(DNS_LABEL.fullmatch(name) for name in volumes)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    mounts = container["volumeMounts"]
    assert {one["name"] for one in mounts} <= set(volumes)
    assert len({one["mountPath"] for one in mounts}) == len(mounts)
    names = [one["name"] for one in container["env"]]
    assert len(set(names)) == len(names)
    ports = [one["name"] for one in container["ports"]]
    assert all(len(name) <= 15 for name in ports)
    requests, limits = container["resources"]["requests"], container["resources"].get("limits", {})
    assert all(requests.get(name) == limits[name] for name in limits if "/" in name)


def _check_metadata(metadata: Object) -> None:
    if "name" in metadata:
        assert DNS_LABEL.fullmatch(metadata["name"])
    for key, value in metadata["labels"].items():
        assert LABEL_KEY.fullmatch(key)
        assert LABEL_VALUE.fullmatch(value), value
    annotations = metadata.get("annotations", {})
    assert all(LABEL_KEY.fullmatch(key) for key in annotations)
    assert all(isinstance(value, str) for value in annotations.values())
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    assert size <= MAX_ANNOTATION_BYTES


def job_failure(
    rules: Sequence[Object], *, exit_code: int, disrupted: bool
) -> tuple[str, str] | str:
    """What a Job's controller makes of a failed pod.

    Returns:
        (reason, message) when a rule fails the Job, in the controller's words
        (kubernetes/pkg/controller/job/pod_failure_policy.go); else the rule's action or "Count".
    """
    for index, rule in enumerate(rules):
        if codes := rule.get("onExitCodes"):
            is_in = exit_code in codes["values"]
            fits = exit_code != 0 and is_in == (codes["operator"] == "In")
            what = (
                f"Container {codes['containerName']} for pod ns/pod-0 failed with exit code "
                f"{exit_code}"
            )
        else:
            fits = disrupted and any(
                one["type"] == "DisruptionTarget" for one in rule["onPodConditions"]
            )
            what = "Pod ns/pod-0 has condition DisruptionTarget"
        if fits and rule["action"] == "FailJob":
            return "PodFailurePolicy", f"{what} matching FailJob rule at index {index}"
        if fits:
            return str(rule["action"])
    return "Count"


def jobset_action(policy: Object, reason: str, message: str) -> str:
    """What a JobSet does about a failed Job: its first rule that fits, else a counted restart."""
    for rule in policy["rules"]:
        reasons, patterns = rule["onJobFailureReasons"], rule["onJobFailureMessagePatterns"]
        if (not reasons or reason in reasons) and (
            not patterns or any(re.search(pattern, message) for pattern in patterns)
        ):
            return str(rule["action"])
    return "RestartJobSet"
