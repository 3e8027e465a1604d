"""What `pipeline doctor` finds on a machine, and says against what is wrong."""

from importlib import metadata
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import pipeline


def test_doctor_finds_the_torch_packages_as_pinned(tmp_path: Path) -> None:
    said = pipeline(tmp_path, "doctor")
    for name in ("torch", "torchvision", "torchaudio"):
        assert f"ok   {name.ljust(16)}{metadata.version(name)}" in said.lines


def test_doctor_says_how_to_mend_what_is_missing_or_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "torchaudio":
            raise metadata.PackageNotFoundError(name)
        return "1.0+cpu"

    pins = [
        text
        for text in metadata.requires("pretraining-pipeline") or ()
        if text[:5] == "torch" and "==" in text
    ]
    monkeypatch.setattr(metadata, "version", version)
    said = pipeline(tmp_path, "doctor")
    assert said.code == ExitCode.INFRASTRUCTURE
    assert "BAD  torch           1.0+cpu" in said.lines
    assert "BAD  torchaudio      not installed" in said.lines
    assert [line.split("-> pip install ")[1] for line in said.lines if "-> pip" in line] == pins
