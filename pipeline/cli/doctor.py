"""`pipeline doctor`: is this machine fit to run a pipeline, and what mends it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ProfileName
from pipeline.errors import ExitCode

_TORCH = ("torch", "torchvision", "torchaudio")
"""Only some versions of these import together; pyproject.toml pins three that do."""
MIN_FREE_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `fix` is empty when all is well."""

    name: str
    found: str
    fix: str = ""


OnCluster = Annotated[
    str | None, typer.Option("--on", metavar="EXECUTOR", help="kubernetes: checks the cluster.")
]
MaybeDag = Annotated[
    Path | None, typer.Argument(metavar="DAG_FILE", help="Its profile says which cluster and how.")
]


def doctor(dag: MaybeDag = None, profile: ProfileName = None, on: OnCluster = None) -> None:
    """Checks this machine, or with --on kubernetes a cluster, and prints the fix for what is wrong."""
    if on not in (None, "local", "kubernetes"):
        from pipeline.errors import UserError

        msg = f"--on {on}: there is `local` and `kubernetes`"
        raise UserError(msg)
    if on == "kubernetes":
        checks = _cluster(dag, profile)
    else:
        checks = [_python(), *_torch(), _compiler(), _cpus(), _work_folder(), _shm()]
    for check in checks:
        print(f"{'ok ' if not check.fix else 'BAD'}  {check.name:15} {check.found}")
        if check.fix:
            print(f"     {'':16}-> {check.fix}")
    if any(check.fix for check in checks):
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


def _cluster(file: Path | None, profile: str | None) -> list[Check]:
    from pipeline.cli.cluster import connect
    from pipeline.cli.loading import load
    from pipeline.executors.kubernetes.doctor import examine
    from pipeline.spec.cluster import ClusterSettings

    settings, needs_gpus = ClusterSettings(), False
    if file is not None:
        dag = load(file, profile=profile)
        settings = dag.cluster
        needs_gpus = any(stage.resources.gpus_per_node for stage in dag.stages.values())
    cluster = connect(settings.namespace, patience_seconds=10.0)
    try:
        found = examine(cluster, settings, needs_gpus=needs_gpus)
        # Without a DAG nobody has said yet which image there is to be.
        return [
            Check(one.name, one.found, one.fix)
            for one in found
            if file is not None or one.name != "image"
        ]
    finally:
        cluster.close()


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("python", found, "" if sys.version_info >= (3, 11) else "Install Python 3.11.")


def _torch() -> list[Check]:
    from importlib import metadata

    checks = []
    for requirement in metadata.requires("pretraining-pipeline") or ():
        name, _, wanted = requirement.partition("==")
        if name not in _TORCH:
            continue
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "not installed"
        fits = found.split("+")[0] == wanted
        checks.append(Check(name, found, "" if fits else f"pip install {requirement}"))
    return checks


def _compiler() -> Check:
    import shutil

    found = shutil.which("c++") or shutil.which("g++")
    # Training on CPU compiles nothing; a compiler is needed for torch.compile and GPU kernels.
    return Check("C++ compiler", found or "none (only torch.compile and GPU kernels need one)")


def _cpus() -> Check:
    return Check("processors", str(len(os.sched_getaffinity(0))))


def _work_folder() -> Check:
    import shutil
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(dir=Path.cwd()):
            pass
    except OSError as error:
        return Check("working folder", str(error), "Run in a folder that you can write to.")
    free = shutil.disk_usage(Path.cwd()).free
    fix = "" if free > MIN_FREE_BYTES else "Free some space, or name a store elsewhere."
    return Check("working folder", f"{free / 2**30:.0f} GiB free", fix)


def _shm() -> Check:
    import shutil

    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check("/dev/shm", "none (not a Linux machine)")
    free = shutil.disk_usage(folder).free
    fix = "" if free > 2**28 else "Mount a larger /dev/shm: ranks exchange data through it."
    return Check("/dev/shm", f"{free / 2**20:.0f} MiB free", fix)
