"""What a stage costs: 200 stages that do nothing, beside Snakemake and DVC.

    python -m tests.bench.bench_stages --venvs DIR [--stages 200] [--runs 10] [--write]

DIR gets one throw-away environment a peer (`DIR/snakemake`, `DIR/dvc`), made by uv, at the versions
below. Each stage copies a file of a few bytes, in a chain (each stage reads the one before) and as a
fan (all read the same file). Ours come twice: a kind of one Python function, and the built-in
`command` that runs the same `cp`. All of ours run in a worker process of its own and end in a commit
with verified digests. Cold and all-cached runs of all tools alternate; before times are compared the
last file of each is.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runner.journal import list_runs, load_run
from pipeline.storage import Store
from tests.bench.ratios import RESULTS, machine

SNAKEMAKE = "9.27.1"
DVC = "3.67.1"
DVC_RUNS = 1
"""DVC takes minutes a run where the others take seconds."""
TEXT = "a few bytes\n"
OURS = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]

KIND = '''"""A stage that copies a file."""

from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec


class CopyConfig(StageConfig):
    """`number` makes each stage of a fan another one."""

    number: int


def copy(ctx: StageContext[CopyConfig]) -> None:
    """Copies the input's file."""
    text = (ctx.input("in") / "file").read_bytes()
    (ctx.outputs["out"] / "file").write_bytes(text)


COPY = StageSpec(
    name="copy", config=CopyConfig, run="noop:copy", inputs={"in": FOLDER}, outputs={"out": FOLDER}
)
'''


@dataclass(frozen=True)
class Tool:
    """A contender: writes its project into a folder; then `cold` and `again` are timed."""

    name: str
    write: Callable[[Path, int, bool], None]
    command: Sequence[str]
    bare: Sequence[str]
    last: Callable[[Path, int], str]
    runs: int


def write_ours_function(folder: Path, stages: int, chain: bool) -> None:
    (folder / "noop.py").write_text(KIND)
    lines = [_head()]
    for n in range(stages):
        source = f"s{n - 1}.out" if chain and n else "first.folder"
        lines.append(
            f"  s{n}: {{uses: './noop.py:COPY', inputs: {{in: {source}}}, with: {{number: {n}}}}}"
        )
    (folder / "dag.yaml").write_text("\n".join(lines) + "\n")
    _first(folder)


def write_ours_command(folder: Path, stages: int, chain: bool) -> None:
    lines = [_head()]
    for n in range(stages):
        source = f"s{n - 1}.out" if chain and n else "first.folder"
        argv = "[cp, '{inputs.in}/file', '{outputs.out}/file']"
        # A variable nobody reads makes each stage of a fan another one.
        config = (
            f"{{argv: {argv}, inputs: {{in: folder}}, outputs: {{out: folder}}, "
            f"env: {{NUMBER: '{n}'}}}}"
        )
        lines.append(f"  s{n}: {{uses: command, inputs: {{in: {source}}}, with: {config}}}")
    (folder / "dag.yaml").write_text("\n".join(lines) + "\n")
    _first(folder)


def _head() -> str:
    return "name: bench\nstages:\n  first: {uses: import, with: {source: first/file, kind: folder}}"


def _first(folder: Path) -> None:
    (folder / "first").mkdir()
    (folder / "first" / "file").write_text(TEXT)


def ours_last(folder: Path, stages: int) -> str:
    store = Store(folder / ".pipeline")
    digest = load_run(store, list_runs(store)[-1]).stages[f"s{stages - 1}"].artifacts["out"]
    return (folder / ".pipeline" / "artifacts" / digest / "files" / "file").read_text()


def write_snakemake(folder: Path, stages: int, chain: bool) -> None:
    (folder / "f_first").write_text(TEXT)
    last = f"f_{stages - 1}" if chain else [f"f_{n}" for n in range(stages)]
    rules = [f"rule all:\n    input: {last!r}\n"]
    for n in range(stages):
        source = f"f_{n - 1}" if chain and n else "f_first"
        rules.append(
            f"rule s{n}:\n    input: '{source}'\n    output: 'f_{n}'\n"
            "    shell: 'cp {input} {output}'\n"
        )
    (folder / "Snakefile").write_text("\n".join(rules))


def write_dvc(folder: Path, stages: int, chain: bool) -> None:
    (folder / "f_first").write_text(TEXT)
    lines = ["stages:"]
    for n in range(stages):
        source = f"f_{n - 1}" if chain and n else "f_first"
        lines.append(f"  s{n}: {{cmd: cp {source} f_{n}, deps: [{source}], outs: [f_{n}]}}")
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


def plain_last(folder: Path, stages: int) -> str:
    return (folder / f"f_{stages - 1}").read_text()


def peers(venvs: Path) -> list[Tool]:
    """Installs the peers where they are not yet, each in an environment of its own."""
    for name, pinned in (("snakemake", SNAKEMAKE), ("dvc", DVC)):
        if not (venvs / name / "bin" / name).exists():
            python = venvs / name / "bin" / "python"
            subprocess.run(["uv", "venv", "-q", str(venvs / name)], check=True)
            install = ["uv", "pip", "install", "-q", "--python", str(python), f"{name}=={pinned}"]
            subprocess.run(install, check=True)
    snakemake, dvc = (str(venvs / name / "bin" / name) for name in ("snakemake", "dvc"))
    run = [snakemake, "--cores", "2", "--quiet", "all"]
    return [
        Tool("Snakemake", write_snakemake, run, [snakemake, "--version"], plain_last, 0),
        Tool(
            "DVC",
            write_dvc,
            ["sh", "-c", f"test -d .dvc || {dvc} init -q --no-scm; {dvc} repro -q"],
            [dvc, "--version"],
            plain_last,
            DVC_RUNS,
        ),
    ]


def ours() -> list[Tool]:
    """The same command for both sorts of stage."""
    run, bare = [*OURS, "run", "dag.yaml"], [*OURS, "version"]
    return [
        Tool("ours, function", write_ours_function, run, bare, ours_last, 0),
        Tool("ours, command", write_ours_command, run, bare, ours_last, 0),
    ]


@dataclass(frozen=True)
class Took:
    """Seconds on the wall, and of CPU over all processes."""

    wall: float
    cpu: float


def timed(command: Sequence[str], folder: Path) -> Took:
    # Byte code is cached as in any ordinary installation, whatever this shell says.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Took(wall, cpu)


Times = dict[tuple[str, str, str], list[Took]]


def measure(tools: Sequence[Tool], stages: int, runs: int, scratch: Path) -> Times:
    """(tool, shape, what) -> seconds of each run; tools take turns within a run."""
    times: Times = {}
    for tool in tools:
        timed(tool.bare, scratch)  # compiles its modules
    for run in range(runs):
        for shape in ("chain", "fan"):
            for tool in tools:
                if tool.runs and run >= tool.runs:
                    continue
                folder = scratch / f"{tool.name.replace(', ', '-')}-{shape}-{run}"
                folder.mkdir()
                tool.write(folder, stages, shape == "chain")
                for what, command in (
                    ("bare", tool.bare),
                    ("cold", tool.command),
                    ("again", tool.command),
                ):
                    took = timed(command, folder)
                    times.setdefault((tool.name, shape, what), []).append(took)
                if run == 0:
                    assert tool.last(folder, stages) == TEXT, tool.name
                shutil.rmtree(folder)
                print(f"run {run} {shape} {tool.name}: done", file=sys.stderr)
    return times


def table(times: Times, tools: Sequence[Tool], stages: int) -> str:
    """Markdown: a stage cold, and all cached over bare start-up; ratios to Snakemake."""
    columns = (
        "shape",
        "tool",
        "cold, ms a stage",
        "spread",
        "ratio",
        "CPU, ms a stage",
        "ratio",
        "all cached, s over start-up",
        "spread, s",
        "start-up, s",
        "runs",
    )
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for shape in ("chain", "fan"):
        base = times["Snakemake", shape, "cold"]
        for tool in tools:
            cold = times[tool.name, shape, "cold"]
            start = _median(times[tool.name, shape, "bare"])
            over = [took.wall - start for took in times[tool.name, shape, "again"]]
            cells = (
                shape,
                tool.name,
                f"{1000 * _median(cold) / stages:.1f}",
                f"{_spread(cold):.2f}",
                f"{_median(cold) / _median(base):.2f}x",
                f"{1000 * _cpu(cold) / stages:.1f}",
                f"{_cpu(cold) / _cpu(base):.2f}x",
                f"{statistics.median(over):.2f}",
                f"{max(over) - min(over):.2f}",
                f"{start:.2f}",
                str(len(cold)),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(values: Sequence[Took]) -> float:
    return statistics.median(took.wall for took in values)


def _cpu(values: Sequence[Took]) -> float:
    return statistics.median(took.cpu for took in values)


def _spread(values: Sequence[Took]) -> float:
    walls = [took.wall for took in values]
    return (max(walls) - min(walls)) / statistics.median(walls)


def report(times: Times, tools: Sequence[Tool], stages: int, command: str) -> str:
    return f"""# {stages} stages that do nothing

{table(times, tools, stages)}

- Machine: {machine("pretraining-pipeline")}; Snakemake {SNAKEMAKE}, DVC {DVC}.
- Command: `{command}`

Medians over runs of which all tools take turns; spread is (max - min) / median, ratios are to
Snakemake (below 1: cheaper). CPU is that of all processes together. Start-up is `pipeline version`,
`snakemake --version`, `dvc --version`. Each stage copies a file of {len(TEXT)} bytes; in a chain it
reads the stage before. Snakemake runs `cp` in a shell and compares times of modification; DVC
(without a version control) hashes what it reads and writes; ours runs each stage in a worker
process of its own, verifies what it reads, and commits what it wrote with a manifest under a lease.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--stages", type=int, default=200)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="write the result file")
    parser.add_argument("--hardware", default=f"{os.cpu_count()}cpu", help="in the file's name")
    arguments = parser.parse_args()
    tools = [*peers(arguments.venvs), *ours()]
    with tempfile.TemporaryDirectory() as scratch:
        times = measure(tools, arguments.stages, arguments.runs, Path(scratch))
    command = (
        f"python -m tests.bench.bench_stages --venvs DIR --stages {arguments.stages} "
        f"--runs {arguments.runs}"
    )
    text = report(times, tools, arguments.stages, command)
    print(text)
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        name = f"stages_{arguments.hardware}_{time.strftime('%Y%m')}.md"
        (RESULTS / name).write_text(text)


if __name__ == "__main__":
    main()
