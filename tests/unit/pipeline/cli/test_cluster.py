"""What a run prepares before pods and this machine share a store."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.cluster import _share_files, check_store_is_here
from pipeline.errors import UserError
from pipeline.spec.cluster import ClusterSettings
from pipeline.storage import Store


def settings(mount: Path, user: int = 1000) -> ClusterSettings:
    volume = {"claim": "artifacts", "mount": str(mount)}
    return ClusterSettings.model_validate({"volumes": {"artifacts": volume}, "user": user})


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_store_below_a_mount_that_is_here_passes(tmp_path: Path) -> None:
    check_store_is_here(Store(str(tmp_path / "store")), settings(tmp_path))


def test_store_on_a_volume_that_is_not_here_names_the_three_ways_out(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(UserError, match=r"--detach.*mount the volume.*object store"):
        check_store_is_here(Store(str(missing / "store")), settings(missing))


@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize(("user", "mode"), [(1000, 0o755), (1001, 0o777)])
def test_folders_are_open_to_pods_of_another_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _share_files(Store(str(tmp_path / "store")), settings(tmp_path, user=user))
    made = tmp_path / "made"
    made.mkdir()
    assert made.stat().st_mode & 0o777 == mode
