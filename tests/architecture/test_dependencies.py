"""The locked environment: it imports, and the versions that must move together do."""

import importlib
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()

DEPENDENCIES = (
    "torch",
    "torchvision",
    "torchaudio",
    "deepspeed",
    "sentencepiece",
    "webdataset",
    "kubernetes",
    "prometheus_client",
    "fsspec",
    "numpy",
    "pydantic",
    "rich",
    "ruamel.yaml",
    "safetensors",
    "tensorboard",
    "typer",
    "zstandard",
)


@pytest.mark.parametrize("module", DEPENDENCIES)
@pytest.mark.filterwarnings("ignore")  # what they warn about on import is theirs to mend
def test_dependency_of_the_locked_environment_imports(module: str) -> None:
    importlib.import_module(module)


def test_torch_packages_are_the_three_that_import_together() -> None:
    pinned = dict(
        text.split("==")
        for text in metadata.requires("pretraining-pipeline") or ()
        if text[:5] == "torch" and "==" in text
    )
    assert pinned.keys() == {"torch", "torchvision", "torchaudio"}
    found = {name: Version(metadata.version(name)).public for name in pinned}
    assert found == pinned


def test_kubernetes_client_leaves_s3fs_current() -> None:
    assert metadata.version("kubernetes") != "37.0.2"
    assert Version(metadata.version("s3fs")).major >= 2025


def test_lock_pins_every_declared_dependency_inside_its_range() -> None:
    locked = {
        name.lower(): version
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", LOCK, re.MULTILINE)
    }
    for text in metadata.requires("pretraining-pipeline") or ():
        requirement = Requirement(text)
        extra = str(requirement.marker or "")
        if "gs" in extra or "az" in extra:  # optional clouds are not part of the lock
            continue
        name = re.sub(r"[._]", "-", requirement.name.lower())
        assert name in locked, f"{requirement.name} is not in requirements.lock: run make lock"
        assert locked[name] in requirement.specifier, f"{text}, but locked {locked[name]}"


def test_lock_has_hashes_and_no_address() -> None:
    assert "://" not in LOCK
    assert "--index-url" not in LOCK
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    without = [block.split()[0] for block in blocks if "--hash=sha256:" not in block]
    assert without == []
