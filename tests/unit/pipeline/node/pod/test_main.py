"""The first lines of a pod's agent."""

import os
import subprocess
import sys

_RUN = """
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "pipeline.node.agent":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder())
runpy.run_module("pipeline.node.pod", run_name="__main__")
"""


def test_agent_that_is_asked_to_end_while_it_imports_takes_note() -> None:
    environment = {**os.environ, "PIPELINE_ORDER": ""}
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Without the signal held back it is -15; as PID 1 it would be lost.
    assert done.returncode > 0, done.stderr
    assert "[agent]" in done.stderr
