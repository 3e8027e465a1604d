"""A stage kind that does what a test tells it to, for real."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from pipeline.errors import DataError, Preempted
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec


class ToyConfig(StageConfig):
    """`do` is done by rank `by`, by all ranks where it is None; the others do `otherwise`."""

    do: str = "write"
    by: int | None = None
    otherwise: str = "write"
    text: str = "x"


Context = StageContext[ToyConfig]


def run(ctx: Context) -> None:
    mine = ctx.config.by is None or ctx.config.by == ctx.world.rank
    _DEEDS[ctx.config.do if mine else ctx.config.otherwise](ctx)


def _write(ctx: Context) -> None:
    (ctx.outputs["out"] / f"part-{ctx.world.rank}.txt").write_text(ctx.config.text)


def _write_late(ctx: Context) -> None:
    time.sleep(0.3)
    _write(ctx)


def _join_inputs(ctx: Context) -> None:
    texts = [(folder / "text").read_text() for folder in ctx.input_list("all")]
    joined = f"{(ctx.input('one') / 'text').read_text()}+{''.join(texts)}"
    (ctx.outputs["out"] / "joined.txt").write_text(joined)


def _count_items(ctx: Context) -> None:
    """Tells numbers, as a worker of a stage that does not train; ends when asked to."""
    ctx.recorder.count("stage_items_total{unit=documents}", 3 + ctx.world.rank)
    ctx.recorder.gauge(f"host_memory_bytes{{rank={ctx.world.rank}}}", 1e6)
    ctx.recorder.progress(1, 2, None, 1.0, "documents")
    _wait_for_stop(ctx)


def _hash_order(ctx: Context) -> None:
    letters = {"a", "b", "c", "d", "e"}
    (ctx.outputs["out"] / "order.json").write_text(json.dumps(list(letters)))


def _nothing(ctx: Context) -> None:
    sys.stdout.write("nothing to do\n")


def _bad_data(ctx: Context) -> None:
    message = "reviews.txt: byte 17 is no UTF-8"
    raise DataError(message)


def _bug(ctx: Context) -> None:
    sys.stdout.write("about to divide\n")
    ctx.recorder.scalar("quotient", 1 / 0, 0)


def _exit(ctx: Context) -> None:
    sys.exit(0)


def _disk_full(ctx: Context) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")


def _memory(ctx: Context) -> None:
    raise MemoryError


def _segfault(ctx: Context) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _report(ctx: Context, *children: int) -> None:
    """Tells the test who is running: the rank, its agent, its children."""
    pids = {"rank": os.getpid(), "agent": os.getppid(), "children": children}
    path = ctx.state.path / f"pids-{ctx.world.rank}.json"
    path.with_suffix(".tmp").write_text(json.dumps(pids))
    path.with_suffix(".tmp").rename(path)


def _wait_for_stop(ctx: Context) -> None:
    _report(ctx)
    while not ctx.should_stop():
        time.sleep(0.01)
    (ctx.state.path / f"saved-{ctx.world.rank}").write_text("step 3")
    message = "state saved at step 3"
    raise Preempted(message)


def _ignore_stop(ctx: Context) -> None:
    _report(ctx)
    time.sleep(60)


def _family(ctx: Context) -> None:
    """A child, a grandchild in a session of its own, and a rank that keeps the interpreter lock."""
    child = subprocess.Popen(["sleep", "61"])
    code = "import os; print(os.getpid(), flush=True); os.execvp('sleep', ['sleep', '62'])"
    shell = subprocess.Popen(
        ["setsid", "--fork", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert shell.stdout is not None
    daemon = int(shell.stdout.readline())
    shell.wait()
    _report(ctx, child.pid, daemon)
    sum(range(10**12))


def _environment(ctx: Context) -> None:
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "DS_ACCELERATOR", "RANK"]
    names += ["WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    found = {name: os.environ.get(name) for name in names}
    found["threads"] = str(ctx.threads)
    found["loaded"] = str("torch" in sys.modules)
    (ctx.outputs["out"] / f"{ctx.world.rank}.json").write_text(json.dumps(found))


def _vote(ctx: Context) -> None:
    """What the training loop does: the ranks agree at which step they stop."""
    # Deferred: the other toys need no torch, and the agent must have none.
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    dist.init_process_group("gloo")
    step = 0
    stop = torch.zeros(1)
    while not stop:
        _report(ctx)
        time.sleep(0.02)
        step += 1
        stop = torch.tensor([float(ctx.should_stop())])
        dist.all_reduce(stop, dist.ReduceOp.MAX)
    (ctx.state.path / f"saved-{ctx.world.rank}").write_text(f"step {step}")
    dist.destroy_process_group()
    message = f"state saved at step {step}"
    raise Preempted(message)


def _meet(ctx: Context) -> None:
    """Adds up a one of each rank, over the network that ranks were told of."""
    # Deferred as above.
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    dist.init_process_group("gloo")
    total = torch.ones(1)
    dist.all_reduce(total)
    dist.destroy_process_group()
    sys.stdout.write(f"met {int(total)}\n")
    (ctx.outputs["out"] / f"part-{ctx.world.rank}.txt").write_text(str(float(total)))


def _preempted(ctx: Context) -> None:
    message = "no time for a step"
    raise Preempted(message)


_DEEDS: dict[str, Callable[[Context], None]] = {
    "write": _write,
    "write late": _write_late,
    "join inputs": _join_inputs,
    "hash order": _hash_order,
    "nothing": _nothing,
    "bad data": _bad_data,
    "bug": _bug,
    "exit": _exit,
    "disk full": _disk_full,
    "memory": _memory,
    "segfault": _segfault,
    "wait for stop": _wait_for_stop,
    "count items": _count_items,
    "ignore stop": _ignore_stop,
    "family": _family,
    "environment": _environment,
    "vote": _vote,
    "meet": _meet,
    "preempted": _preempted,
}

TOY = StageSpec(name="toy", config=ToyConfig, run="toys:run", outputs={"out": FOLDER})
