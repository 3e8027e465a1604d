"""Whether an image holds what the plan was made with."""

from importlib import metadata
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.node.pod.code import check_code
from pipeline.planner.code_digest import CodeDigests
from pipeline.planner.memo import Memo
from pipeline.spec.kinds import load_kind
from pipeline.spec.pod import PodOrder
from tests.jobs import job_of


@pytest.fixture
def planned(tmp_path: Path) -> dict[str, str]:
    memo = Memo(tmp_path / "planner.db")
    digests = CodeDigests(memo).of(load_kind("command"), "command")
    memo.close()
    versions = {"library.numpy": metadata.version("numpy")}
    return {f"code.{name}": digest for name, digest in digests.items()} | versions


def _order(parts: dict[str, str], image: str = "host:5000/team/pipeline:1.4") -> PodOrder:
    return PodOrder(
        job=job_of(kind="command", key_parts=parts), image=image, image_tag="0123456789ab"
    )


def test_planned_code_passes(tmp_path: Path, planned: dict[str, str]) -> None:
    check_code(_order(planned), tmp_path)


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("host:5000/team/pipeline:1.4", "host:5000/team/pipeline:code-0123456789ab"),
        ("host:5000/pipeline", "host:5000/pipeline:code-0123456789ab"),
        ("pipeline:1@sha256:00", "pipeline:code-0123456789ab"),
    ],
)
def test_other_code_names_the_module_and_the_tag_to_build(
    tmp_path: Path, planned: dict[str, str], image: str, tag: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check_code(_order(planned | {"code.my.module": "0" * 64}, image), tmp_path)
    assert "planned with: my.module (absent)." in str(refused.value)
    assert f"-t {tag} ." in str(refused.value)


def test_other_library_is_named_with_both_versions(tmp_path: Path, planned: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"numpy 0\.1, here \d"):
        check_code(_order(planned | {"library.numpy": "0.1"}), tmp_path)
