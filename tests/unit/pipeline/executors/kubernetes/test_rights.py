"""The Role that k8s/base installs is what the runner uses, no more and no less."""

from pathlib import Path

from ruamel.yaml import YAML

from pipeline.executors.kubernetes.rights import RIGHTS

RBAC = Path(__file__).parents[5] / "k8s" / "base" / "rbac.yaml"


def test_role_of_the_runner_is_what_it_does() -> None:
    documents = YAML(typ="safe").load_all(RBAC.read_text())
    (role,) = [one for one in documents if one["kind"] == "Role"]
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    used = {
        (
            right.resource.group,
            f"{right.resource.plural}/{right.subresource}".rstrip("/"),
            verb,
        )
        for right in RIGHTS
        for verb in right.verbs
    }
    assert granted == used
