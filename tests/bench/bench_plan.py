"""What planning costs: `--help`, `plan` of large DAGs, and the digest of a source of small files.

    python -m tests.bench.bench_plan [--runs 10] [--files 100000] [--write]

Everything is timed beside a baseline that does the least there is to do, in turns: a bare Python for
the commands, reading and hashing each file once for the first digest of a source, listing and
`stat` for the next one. Times of commands are CPU time of the process (user and system), which other
work on the machine changes little; wall time stands beside it.
"""

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.planner.memo import Memo
from pipeline.planner.source_digest import source_digest
from tests.bench.ratios import RESULTS, machine

PASS = [sys.executable, "-c", "pass"]
PIPELINE = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]
STAGES = 200
CELLS = 10_000
WORDS_A_FILE = 220
"""About a review's length: 1.3 kB."""
LONG_AGO = 1_000_000_000


@dataclass(frozen=True)
class Row:
    """Seconds of each run of a case; `wall` is of ours alone."""

    case: str
    baseline_name: str
    baseline: Sequence[float]
    ours: Sequence[float]
    wall: Sequence[float]

    def text(self) -> str:
        """A line of the table."""
        base, ours = statistics.median(self.baseline), statistics.median(self.ours)
        return (
            f"| {self.case} | {self.baseline_name} | {base:.3f} | {ours:.3f} | {ours - base:+.3f} "
            f"| {ours / base:.1f}x | {_spread(self.baseline):.2f}, {_spread(self.ours):.2f} "
            f"| {statistics.median(self.wall):.2f} |"
        )


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)


def command_seconds(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """(CPU, wall) seconds of a child process."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def compare_commands(case: str, arguments: Sequence[str], folder: Path, runs: int) -> Row:
    """`pipeline ARGUMENTS` beside a bare Python, in turns, after one warm-up of each."""
    baseline, ours, wall = [], [], []
    for run in range(runs + 1):
        bare = command_seconds(PASS, folder)
        mine = command_seconds([*PIPELINE, *arguments], folder)
        if run:
            baseline.append(bare[0])
            ours.append(mine[0])
            wall.append(mine[1])
    print(f"{case}: done", file=sys.stderr)
    return Row(case, "`python -c pass`", baseline, ours, wall)


def write_dags(folder: Path) -> None:
    """chain.yaml: stages that read one another; cells.yaml: one stage with a large matrix."""
    lines = ["name: chain", "stages:"]
    for n in range(STAGES):
        source = f", inputs: {{i: s{n - 1}.o}}" if n else ""
        port = ", inputs: {i: folder}" if n else ""
        lines.append(
            f"  s{n}: {{uses: command, with: {{argv: [x, {n}]{port}, outputs: {{o: folder}}}}{source}}}"
        )
    (folder / "chain.yaml").write_text("\n".join(lines) + "\n")
    cells = list(range(CELLS))
    (folder / "cells.yaml").write_text(
        f"name: cells\nstages:\n  s: {{uses: command, matrix: {{k: {cells}}}, "
        "with: {argv: ['${matrix.k}'], outputs: {o: folder}}}\n"
    )


def write_files(folder: Path, count: int) -> None:
    """Small files of different content, 1,000 a folder, written long ago."""
    for n in range(count):
        path = folder / str(n // 1000) / f"{n}.txt"
        if n % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(f"{n} {'words ' * WORDS_A_FILE}")
        os.utime(path, (LONG_AGO, LONG_AGO))


def hash_plainly(folder: Path) -> str:
    """The least a first digest can do: read and hash each file, in one thread."""
    digest = hashlib.sha256()
    for base, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            with open(f"{base}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - the least
                digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()


def stat_plainly(folder: Path) -> int:
    """The least a later digest can do: list and look at each file."""
    total = 0
    for base, _, files in os.walk(folder):
        for name in files:
            total += os.stat(f"{base}/{name}").st_mtime_ns  # noqa: PTH116 - the least
    return total


def compare_digests(folder: Path, files: Path, runs: int) -> list[Row]:
    """First and later digests of a source; equal digests are checked."""

    def first() -> None:
        (folder / "memo.db").unlink(missing_ok=True)
        again()

    def again() -> None:
        memo = Memo(folder / "memo.db")
        found.add(source_digest(str(files), memo))
        memo.close()

    found: set[str] = set()
    rows = []
    cases: Sequence[tuple[str, str, Callable[[Path], object], Callable[[], None]]] = (
        ("first digest of a source", "read and hash each file", hash_plainly, first),
        ("its digest again", "list and stat each file", stat_plainly, again),
    )
    for case, name, base, ours in cases:
        times: tuple[list[float], ...] = ([], [], [])
        for run in range(runs + 1):
            values = (_cpu(lambda base=base: base(files)), _cpu(ours))  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
            if run:
                for column, value in zip(times, (values[0][0], *values[1]), strict=True):
                    column.append(value)
        rows.append(Row(case, name, *times))
        print(f"{case}: done", file=sys.stderr)
    assert len(found) == 1
    return rows


def _cpu(work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def report(rows: Sequence[Row], files: int, command: str) -> str:
    """The result file."""
    lines = "\n".join(row.text() for row in rows)
    return f"""# What planning costs

| case | baseline | baseline, CPU s | ours, CPU s | over it | ratio | spread of either | ours, wall s |
|---|---|---|---|---|---|---|---|
{lines}

Machine: {machine("pretraining-pipeline", "typer", "pydantic", "ruamel.yaml", "rich")}.
Command: `{command}`.

Medians of runs that alternate with the baseline's, after one warm-up; spread is (max - min) /
median. CPU time is user and system of the whole process. The chain has {STAGES} stages of the kind
`command`, each reading the one before; the matrix {CELLS:,} cells; both are planned against an empty
store. The source has {files:,} files of 1.3 kB in folders of 1,000; its digests are the same every
time.
"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="write the result file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_dags(folder)
        write_files(folder / "raw", arguments.files)
        runs = arguments.runs
        rows = [
            compare_commands("`pipeline --help`", ["--help"], folder, runs),
            compare_commands(f"`plan`, {STAGES} stages", ["plan", "chain.yaml"], folder, runs),
            compare_commands(
                f"`plan`, {CELLS:,} cells", ["plan", "cells.yaml"], folder, max(1, runs // 3)
            ),
            *compare_digests(folder, folder / "raw", runs),
        ]
    command = f"python -m tests.bench.bench_plan --runs {runs} --files {arguments.files}"
    text = report(rows, arguments.files, command)
    print(text)
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"plan_{os.cpu_count()}cpu_{time.strftime('%Y%m')}.md").write_text(text)


if __name__ == "__main__":
    main()
