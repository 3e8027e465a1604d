"""A runner inside the cluster: what is applied, and what following it shows."""

import time

from tests.integration.kubernetes.conftest import Shell
from tests.kubernetes.objects import pod, terminated, true

GANG = {"uses": "./toys.py:GANG", "with": {"units": 4}, "resources": {"nodes": 2}}


def test_detach_applies_a_runner_and_attach_ends_as_it_does(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    server = shell.cluster.server
    said = shell.say("run", "dag.yaml", "gang", "--profile", "cluster", "--detach", "--keep-going")
    (job,) = server.all("jobs")
    name = job["metadata"]["name"]
    assert f"runner {name} started" in said
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["pipeline", "run"]
    assert {"gang", "--keep-going", "--profile", "cluster"} <= set(command)
    (config_map,) = server.all("configmaps")
    assert config_map["metadata"]["name"] == name
    (owner,) = config_map["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Job", job["metadata"]["uid"])
    assert f"exec job/{name} -- pipeline status" in shell.say("cancel")
    assert "is at work already" in shell.say(
        "run", "dag.yaml", "gang", "--profile", "cluster", "--detach", "--keep-going"
    )
    server.put("pods", pod(owner=name, name="runner-pod"))
    server.logs["runner-pod"] = ["12:00:00 gang: started"]
    following = shell.start("attach")
    shell.wait_for(lambda: "gang: started" in shell.log())
    assert following.poll() is None
    server.logs["runner-pod"].append("12:00:09 gang: failed")
    server.put("pods", pod(owner=name, name="runner-pod", phase="Failed", state=terminated(1, 9)))
    server.edit("jobs", name, lambda item: item.update(status={"conditions": [true("Failed")]}))
    time.sleep(0.1)
    server.ended_logs.add("runner-pod")
    assert following.wait(120) == 1
    assert "gang: failed" in shell.log()


def test_attach_says_why_a_runner_does_not_start(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    server = shell.cluster.server
    shell.say("run", "dag.yaml", "--profile", "cluster", "--detach")
    (job,) = server.all("jobs")
    why = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}
    name = job["metadata"]["name"]
    server.put("pods", pod(owner=name, name="runner-pod", phase="Pending", state=why))
    following = shell.start("attach")
    shell.wait_for(lambda: "ImagePullBackOff: manifest unknown" in shell.log())
    assert following.poll() is None


def test_detach_refuses_what_it_cannot_take_along(shell: Shell) -> None:
    shell.write_dag({"gang": GANG})
    said = shell.say("run", "dag.yaml", "--profile", "cluster", "--detach", "--strict")
    assert "--strict" in said
    assert not shell.cluster.server.all("jobs")
