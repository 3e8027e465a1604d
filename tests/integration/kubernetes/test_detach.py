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
    assert [one["metadata"]["name"] for one in server.all("configmaps")] == [name]
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
