"""What a run stood on: the machine, the installed packages, the state of the code's checkout."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UserError
from pipeline.spec.gpus import installed_gpus

_HASHED_BYTES = 16 << 20
"""An untracked file above this size counts by its name and size alone: it is data, not code."""


class Machine(BaseModel):
    """The machine of the runner; each GPU by its model."""

    model_config = ConfigDict(frozen=True)

    host: str
    system: str
    python: str
    cpu: str
    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]


class Checkout(BaseModel):
    """A git work tree; `dirty` is a digest of all uncommitted changes, "" when there are none."""

    model_config = ConfigDict(frozen=True)

    folder: str
    commit: str
    dirty: str


def describe_machine() -> Machine:
    """This machine, without starting a process."""
    uname = platform.uname()
    return Machine(
        host=uname.node,
        system=f"{uname.system} {uname.release} {uname.machine}",
        python=platform.python_version(),
        cpu=_cpu_model(),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=installed_gpus(),
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def installed_packages() -> dict[str, str]:
    """Name -> version of every distribution on the path.

    Read from the names of the metadata folders: opening two hundred of them costs 0.1 s.
    """
    packages: dict[str, str] = {}
    for folder in sys.path:
        path = Path(folder)
        if not path.is_dir():
            continue
        for name in os.listdir(path):  # noqa: PTH208 - names alone, and this is on the start-up path
            if name.endswith(".dist-info"):
                package, _, version = name.removesuffix(".dist-info").partition("-")
                packages.setdefault(package.lower().replace("_", "-"), version)
    return dict(sorted(packages.items()))


def checkouts(folders: list[Path], *, strict: bool) -> tuple[Checkout, ...]:
    """The git work trees these folders lie in, each once; those in none are left out.

    Args:
        folders: of the DAG file and of the code.
        strict: refuse uncommitted changes.

    Raises:
        UserError: `strict`, and a work tree is dirty or the first folder is in none.
    """
    found: dict[str, Checkout] = {}
    for index, folder in enumerate(folders):
        checkout = _checkout(folder)
        if checkout is None:
            if strict and index == 0:
                msg = f"--strict: {folder} is not in a git work tree, so what runs has no name"
                raise UserError(msg)
            continue
        if strict and checkout.dirty:
            msg = (
                f"--strict: {checkout.folder} has uncommitted changes; "
                "commit them (see `git status`) or leave --strict out"
            )
            raise UserError(msg)
        found[checkout.folder] = checkout
    return tuple(found.values())


def _checkout(folder: Path) -> Checkout | None:
    top = _git(folder, "rev-parse", "--show-toplevel", "HEAD")
    if top is None:
        return None
    root, commit = top.decode().splitlines()
    # What a run writes under the work tree must not make the next one dirty.
    scope = ("--", ":/", ":(exclude,top,glob)**/.pipeline/**")
    status = _git(Path(root), "status", "--porcelain", "-z", "--untracked-files=all", *scope)
    if not status:
        return Checkout(folder=root, commit=commit, dirty="")
    digest = hashlib.sha256(_git(Path(root), "diff", "--binary", "HEAD", *scope) or b"")
    for entry in sorted(status.split(b"\0")):
        if entry.startswith(b"?? "):
            digest.update(entry)
            digest.update(_content(Path(root) / os.fsdecode(entry[3:])))
    return Checkout(folder=root, commit=commit, dirty=digest.hexdigest())


def _content(path: Path) -> bytes:
    """What stands for an untracked file in the digest; it may vanish meanwhile."""
    try:
        size = path.lstat().st_size
        if path.is_symlink() or not path.is_file() or size > _HASHED_BYTES:
            return str(size).encode()
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b"unreadable"


def _git(folder: Path, *command: str) -> bytes | None:
    """The output of a git command; None without git, outside a work tree, or before a commit."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command],
            capture_output=True,
            check=False,
            env=environment,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
