"""`pip install .` outside the repository: console script, packages, package data."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(*command: str | Path, cwd: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment that holds our wheel, and sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"
    files = _run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    _run(sys.executable, "-W", "ignore", "-c", build, folder, cwd=source)
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    site = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    libraries = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    Path(site.strip(), "libraries.pth").write_text(libraries or sysconfig.get_path("purelib"))
    return folder / "venv"


def test_install_outside_the_repository_gives_a_console_script(installed: Path) -> None:
    assert "pipeline" in _run(installed / "bin" / "pipeline", "--help", cwd=installed)


def test_install_outside_the_repository_lists_every_kind(installed: Path) -> None:
    listed = _run(installed / "bin" / "pipeline", "stages", cwd=installed)
    for kind in ("command", "check", "data_prep.text", "xlnet.pretrain", "compare"):
        assert kind in listed


def test_install_outside_the_repository_carries_the_shipped_dags(installed: Path) -> None:
    script = (
        "import stages.xlnet as m, pathlib; folder = pathlib.Path(m.__file__).parent;"
        "assert 'venv' in str(folder), folder; print((folder / 'dags' / 'tiny.yaml').read_text())"
    )
    assert "xlnet.pretrain" in _run(installed / "bin" / "python", "-c", script, cwd=installed)
