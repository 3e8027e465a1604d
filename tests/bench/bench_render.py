"""How long rendering 500 stages takes: python tests/bench/bench_render.py [--stages N] [--runs N].

Baseline: reading and checking the DAG file and making its keys, which every command has to do.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.executors.kubernetes.manifest.text import to_yaml
from pipeline.executors.kubernetes.manifest.whole import render_stages
from pipeline.planner.digests import Digests
from pipeline.planner.keys import planned_stage
from pipeline.spec.dag import Dag
from pipeline.spec.load import load_dag

_GOAL_SECONDS = 2.0
_HEAD = """\
name: wide
stages:
  tokenizer:
    uses: data_prep.tokenizer
    with: {format: stdlib, vocab_size: 500}
  shards:
    uses: data_prep.text
    inputs: {tokenizer: tokenizer.tokenizer}
    with: {format: stdlib}
    resources: {workers: 4}
"""
_STAGE = """\
  pretrain-%d:
    uses: xlnet.pretrain
    inputs: {shards: shards.shards, tokenizer: tokenizer.tokenizer}
    with:
      model: {preset: tiny}
      train: {steps: 10, global_batch_size: 64, optimizer: {learning_rate: 1.0e-3}}
    resources: {nodes: 4, gpus_per_node: 8, memory: 16GiB}
    seed: %d
"""
_PROFILES = """\
profiles:
  cluster:
    on: kubernetes
    store: file:///artifacts/wide
    cluster: {image: "pipeline:1", volumes: {artifacts: {claim: artifacts}}, queue: gpu}
"""


def _timed(work: Callable[[], object]) -> float:
    """Seconds of this process: others on the machine do not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _keys(dag: Dag, workdir: Path) -> None:
    keys: dict[str, str] = {}
    with Digests(workdir) as digests:
        for address, stage in dag.stages.items():
            keys[address] = planned_stage(stage, keys, digests).plan_key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, default=500)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dag.yaml"
        stages = "".join(_STAGE % (n, n) for n in range(options.stages - 2))
        file.write_text(f"{_HEAD}{stages}{_PROFILES}")

        def load() -> Dag:
            return load_dag(file, profile="cluster", values=(), sets=(), environ={})

        def render() -> str:
            rendered = render_stages(load(), environ={}, workdir=Path(folder))
            return to_yaml(one for stage in rendered for one in stage.objects)

        text = render()  # warm: the memo of digests, imports
        assert text == render(), "two renderings differ"
        before, ours = [], []
        for _ in range(options.runs):
            before.append(_timed(lambda: _keys(load(), Path(folder))))
            ours.append(_timed(render))
    lines, megabytes = text.count("\n"), len(text) / 2**20
    print(f"{options.stages} stages: {lines} lines, {megabytes:.1f} MiB of YAML")
    for name, times in (("load and keys", before), ("load, keys, render", ours)):
        middle = statistics.median(times)
        spread = (max(times) - min(times)) / middle
        print(f"{name:20} {middle:6.2f} s   spread {spread:.0%}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB")
    verdict = "within" if statistics.median(ours) < _GOAL_SECONDS else "ABOVE"
    print(f"{verdict} the goal of {_GOAL_SECONDS:g} s")


if __name__ == "__main__":
    main()
