"""Kills a running pipeline with SIGKILL at drawn moments, resumes it, and compares what it made.

Can be pointed at any DAG: `undisturbed` runs it once and measures it, `survives` runs it again in
a fresh folder with one kill and says what differs. Everything goes through the command line, as a
user's own kill -9 would.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.runner.journal import list_runs, load_run
from pipeline.runner.state import RunState
from pipeline.storage import Store

COMMAND = (sys.executable, "-c", "from pipeline.cli.main import main; main()")
MARK = "PIPELINE_TEST_MARK"
Target = Literal["runner", "agent", "rank"]
_DEPTHS: Mapping[Target, int] = {"runner": 0, "agent": 1, "rank": 2}
"""Generations below the command: itself, agent, rank."""
_END_SECONDS = 300.0
_ORPHAN_SECONDS = 10.0
_MOST_TRIES = 4
_EARLIER = 0.6


@dataclass(frozen=True)
class Kill:
    """One kill: whom, and when, as a share of the undisturbed run's duration."""

    number: int
    target: Target
    moment: float
    pick: float
    """Which of several processes: a share of their number."""

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.number}-{self.target}-at-{self.moment:.2f}"


def draw_kills(count: int, seed: int) -> list[Kill]:
    """`count` kills that take the targets in turn, at moments drawn with this seed.

    A runner may be killed at any time. Agents and ranks live shorter, so their moments end early
    enough that one of them is still to come.
    """
    rng = random.Random(seed)
    targets: Sequence[Target] = ("runner", "rank", "agent")
    kills = []
    for number in range(count):
        target = targets[number % len(targets)]
        moment = rng.uniform(0.02, 0.98 if target == "runner" else 0.75)
        kills.append(Kill(number, target, moment, rng.random()))
    return kills


@dataclass(frozen=True)
class Subject:
    """A DAG to be killed: its file, further arguments of `run`, and its `.pipeline` folder."""

    dag: Path
    folder: Path
    arguments: Sequence[str] = ()
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def in_folder(self, folder: Path) -> "Subject":
        """The same DAG in another, fresh folder."""
        return Subject(self.dag, folder, self.arguments)

    @property
    def store(self) -> Store:
        """Where its results are."""
        return Store(self.folder / ".pipeline")

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Starts a subcommand in its folder; output goes to output.log there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "output.log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *command],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, MARK: self.mark, "NO_COLOR": "1"},
            )
        self.started.append(process)
        return process

    def close(self) -> None:
        """Ends what a failed test left running."""
        for process in self.started:
            process.kill()
            process.wait()

    def run(self) -> subprocess.Popen[bytes]:
        """`pipeline run`."""
        return self.start("run", str(self.dag), *self.arguments)

    def go_on(self) -> subprocess.Popen[bytes]:
        """`pipeline resume` of the run there is; `pipeline run` where it was killed before one."""
        runs = list_runs(self.store)
        return self.start("resume", runs[-1]) if runs else self.run()

    def state(self) -> RunState:
        """Of the newest run."""
        return load_run(self.store, list_runs(self.store)[-1])

    def digests(self) -> dict[str, dict[str, str]]:
        """Stage -> port -> digest, of the newest run."""
        return {name: stage.artifacts for name, stage in self.state().stages.items()}

    def log(self) -> str:
        """What the commands printed, for a failing test."""
        return (self.folder / "output.log").read_text(errors="replace")[-4000:]

    def processes(self) -> set[int]:
        """Every process started from here, by the mark in its environment."""
        mark, found = f"{MARK}={self.mark}".encode(), set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes().split(b"\0"):
                    found.add(int(path.parent.name))
            except OSError:
                continue
        return {pid for pid in found if _is_alive(pid)}


def undisturbed(subject: Subject) -> float:
    """Runs the DAG to its end; its duration in seconds."""
    begin = time.monotonic()
    code = subject.run().wait(_END_SECONDS)
    assert code == 0, subject.log()
    return time.monotonic() - begin


def survive(reference: Subject, kill: Kill, duration: float, folder: Path) -> Subject:
    """Runs the DAG with one kill, and goes on until it has ended well.

    A machine that is less busy than it was for the reference may be done before the moment; then
    it is tried once more, earlier.

    Args:
        reference: the undisturbed run.
        kill: what to do to the other one.
        duration: seconds the undisturbed run took.
        folder: for the disturbed one; must not exist.

    Returns:
        the run that was killed, finished.
    """
    for number in range(_MOST_TRIES):
        subject = reference.in_folder(folder / str(number))
        try:
            if _survive(subject, kill, duration * _EARLIER**number):
                return subject
        finally:
            subject.close()
    msg = f"{kill.name}: in {_MOST_TRIES} tries nobody was there to be killed"
    raise AssertionError(msg)


def _survive(subject: Subject, kill: Kill, duration: float) -> bool:
    """Whether there was somebody to kill."""
    command = subject.run()
    hit = _kill_at(command, kill, kill.moment * duration)
    code = command.wait(_END_SECONDS)
    _no_orphans(subject)
    if kill.target == "runner" and hit:
        assert code == -signal.SIGKILL
        code = subject.go_on().wait(_END_SECONDS)
    assert code == 0, f"{kill.name}: exit {code}\n{subject.log()}"
    _no_orphans(subject)
    return hit


def _kill_at(command: subprocess.Popen[bytes], kill: Kill, seconds: float) -> bool:
    """Waits for the moment, then for the first process of the wanted sort."""
    time.sleep(seconds)
    while command.poll() is None:
        victims = generation(command.pid, _DEPTHS[kill.target])
        if victims:
            victim = victims[int(kill.pick * len(victims))]
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
        time.sleep(0.002)
    return False


def logged(metrics: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of every line for `name` in a metrics.jsonl; empty when there is no file."""
    found = []
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        # The last line of a killed rank may be half a line.
        if line.endswith("}") and (entry := json.loads(line))["name"] == name:
            found.append((int(entry["step"]), float(entry["value"])))
    return found


def generation(pid: int, depth: int) -> list[int]:
    """The living descendants exactly `depth` generations down, oldest first."""
    generation = [pid]
    for _ in range(depth):
        generation = [child for parent in generation for child in _children(parent)]
    return [one for one in sorted(generation) if _is_alive(one)]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    # A process's threads have children of their own.
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _no_orphans(subject: Subject) -> None:
    give_up = time.monotonic() + _ORPHAN_SECONDS
    while left := subject.processes():
        assert time.monotonic() < give_up, f"processes {left} were left\n{subject.log()}"
        time.sleep(0.01)
