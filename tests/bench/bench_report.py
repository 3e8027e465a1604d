"""What a report costs: a run of 200 stages with a million metric points, written and looked at.

    python -m tests.bench.bench_report [--runs 5] [--write]

The run is written by the project's own journal and recorder format, not executed. Beside it stands the
least there is to do: a bare Python that reads the same files and parses each line as JSON. The page
is then opened in headless Chromium (where it is installed): seconds until its script is ready, and
how long a zoom takes until the next frame.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.runner import events as ev
from pipeline.runner.journal import Journal
from pipeline.runner.record import Request, make_record, write_record
from pipeline.runner.state import RunState
from pipeline.spec.load import load_text
from pipeline.storage import Store
from tests.bench.ratios import RESULTS, machine
from tests.chromium import Browser, chromium

STAGES = 200
METRICS = 10
STEPS = 500
PIPELINE = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]
BASELINE = """
import json, pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("metrics.jsonl"):
    for line in path.open():
        json.loads(line)
"""
NAMES = (
    *("train_loss", "train_grad_norm", "train_learning_rate", "train_step_duration_seconds"),
    *("eval_score{score=accuracy}", "eval_score{score=loss}", "train_mfu_ratio"),
    *("train_samples_total", "train_tokens_total", "my_own_number"),
)
ZOOM = """
const done = arguments[arguments.length - 1];
const select = document.getElementById('curve-stage');
const times = [];
document.getElementById('charts').scrollIntoView();
const turn = (n) => {
  if (n === 40) { done(times); return; }
  const begin = performance.now();
  document.getElementById(n % 2 ? 'zoom-in' : 'zoom-out').click();
  requestAnimationFrame(() => setTimeout(() => { times.push(performance.now() - begin); turn(n + 1); }));
};
setTimeout(() => turn(0), 500);
"""


def write_run(folder: Path) -> str:
    """Writes the run into `folder/.pipeline`; its id."""
    store = Store(folder / ".pipeline")
    dag = load_text(_dag(), folder / "dag.yaml", profile=None, values=(), sets=(), environ={})
    record = make_record(dag, store, Request(file=str(dag.file), text=_dag()))
    write_record(store, record)
    journal = Journal(store, RunState(record.run))
    journal.append(ev.RunStarted(dag=dag.name, host="here", pid=1))
    planned = [
        ev.PlannedEntry(
            stage=address, kind=stage.kind, launch="process", plan_key=f"{n:064x}", action="run",
            reasons=("miss: no earlier result",), upstream=tuple(stage.upstream),
        )
        for n, (address, stage) in enumerate(dag.stages.items())
    ]  # fmt: skip
    journal.append(ev.StagesPlanned(stages=tuple(planned)))
    for number, entry in enumerate(planned):
        attempt = folder / ".pipeline" / "runs" / record.run / "stages" / entry.stage / "1"
        attempt.mkdir(parents=True)
        (attempt / "metrics.jsonl").write_text("".join(_lines(number)))
        journal.append(
            ev.AttemptStarted(
                stage=entry.stage,
                attempt=1,
                attempt_id=f"{record.run}-{number:08x}",
                content_key="c",
                folder=str(attempt),
                nodes=1,
                processes_per_node=1,
            )
        )
        journal.append(
            ev.AttemptEnded(stage=entry.stage, attempt=1, exit_code=0, exit_class="done")
        )
        journal.append(ev.StageFinished(stage=entry.stage, content_key="c", artifacts={}))
    journal.append(ev.RunEnded(status="succeeded", counts={"done": STAGES}))
    return record.run


def _dag() -> str:
    """A stage reads the one before it and the one eight before."""
    lines = ["name: large", "stages:"]
    for n in range(STAGES):
        reads = ", ".join(f"i{k}: s{n - k}.o" for k in (1, 8) if n >= k)
        kinds = ", ".join(f"i{k}: folder" for k in (1, 8) if n >= k)
        lines.append(
            f"  s{n}: {{uses: command, inputs: {{{reads}}}, "
            f"with: {{argv: ['true'], inputs: {{{kinds}}}, outputs: {{o: folder}}}}}}"
        )
    return "\n".join(lines) + "\n"


def _lines(stage: int) -> Iterator[str]:
    for step in range(1, STEPS + 1):
        for number, name in enumerate(NAMES):
            value = math.exp(-step / 200) + 0.1 * math.sin(step * (number + 1.7) + stage)
            point = {"name": name, "value": value, "step": step, "time": 1.7e9 + step}
            yield json.dumps(point) + "\n"


def _timed(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a command."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def _look(browser: Browser, page: Path) -> tuple[float, list[float]]:
    """(seconds until ready, milliseconds of each zoom)."""
    browser.resize(1280, 900)
    begin = time.perf_counter()
    browser.open(page.as_uri())
    ready = time.perf_counter() - begin
    browser.driver.set_script_timeout(120)
    return ready, browser.driver.execute_async_script(ZOOM)


def main() -> None:
    """Prints the table; with --write also into the results folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        run = write_run(folder)
        page = folder / "report.html"
        ours, baseline = [], []
        for _ in range(options.runs + 1):
            baseline.append(_timed([sys.executable, "-c", BASELINE, str(folder)], folder))
            ours.append(_timed([*PIPELINE, "report", run, "-o", page.name], folder))
        with chromium(folder / "profile") as browser:
            ready, zooms = _look(browser, page)
        table = _table(baseline[1:], ours[1:], page.stat().st_size, ready, zooms)
    print(table)
    if options.write:
        name = f"report_{os.cpu_count()}cpu_{time.strftime('%Y%m')}.md"
        (RESULTS / name).write_text(f"# What a report costs\n\n{table}\n\n{__doc__}")


def _table(
    baseline: Sequence[tuple[float, float]],
    ours: Sequence[tuple[float, float]],
    num_bytes: int,
    ready: float,
    zooms: Sequence[float],
) -> str:
    cpu = [statistics.median(one[0] for one in side) for side in (baseline, ours)]
    wall = [statistics.median(one[1] for one in side) for side in (baseline, ours)]
    spread = [
        (max(one[0] for one in side) - min(one[0] for one in side)) / median
        for side, median in zip((baseline, ours), cpu, strict=True)
    ]
    spreads = ", ".join(f"{one:.2f}" for one in spread)
    zooms = sorted(zooms)
    points = STAGES * METRICS * STEPS
    return "\n".join(
        (
            f"{STAGES} stages, {points:,} points, {len(ours)} runs in turn:",
            "",
            "| case | json.loads of each line | ours | ratio | spread of either |",
            "|---|---|---|---|---|",
            f"| write, CPU s | {cpu[0]:.2f} | {cpu[1]:.2f} | {cpu[1] / cpu[0]:.2f}x | {spreads} |",
            f"| write, wall s | {wall[0]:.2f} | {wall[1]:.2f} | {wall[1] / wall[0]:.2f}x | |",
            "",
            f"Page: {num_bytes / 1e6:.2f} MB; ready in Chromium after {ready:.2f} s.",
            f"A zoom of all charts: {statistics.median(zooms):.0f} ms, at worst {zooms[-1]:.0f} ms.",
            "",
            machine("numpy", "jinja2", "selenium"),
        )
    )


if __name__ == "__main__":
    main()
