"""Whether the image holds the code that the plan was made with."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.planner.code_digest import CodeDigests
from pipeline.planner.memo import Memo
from pipeline.spec.kinds import load_kind
from pipeline.spec.pod import PodOrder

_MAX_NAMES = 6
_PREFIX = "code."
_LIBRARY_PREFIX = "library."


def check_code(order: PodOrder, scratch: Path) -> None:
    """Passes when every module behind the stage, and every library in its key, is the planned one.

    A comment or another layout is no difference: what is compared is what makes the plan key.

    Args:
        order: with the digests that the plan has.
        scratch: a folder for the memo of digests.

    Raises:
        ConfigError: they differ; says which image to build or set.
    """
    planned = {
        name.removeprefix(_PREFIX): digest
        for name, digest in order.job.key_parts.items()
        if name.startswith(_PREFIX)
    }
    if libraries := _other_libraries(order):
        msg = (
            f"image {order.image} holds other libraries than {order.job.stage} was planned with: "
            f"{', '.join(libraries)}. Build it from the requirements.lock of the planned code, or "
            "plan with the versions of the image."
        )
        raise ConfigError(msg)
    here = _digests(order, scratch)
    if differing := sorted(
        name for name in planned.keys() | here.keys() if planned.get(name) != here.get(name)
    ):
        raise ConfigError(_message(order, differing, here))


def _other_libraries(order: PodOrder) -> list[str]:
    """Libraries that are part of the key, whose versions differ here."""
    found = []
    for part, planned in order.job.key_parts.items():
        if not part.startswith(_LIBRARY_PREFIX):
            continue
        name = part.removeprefix(_LIBRARY_PREFIX)
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            here = "not installed"
        if here != planned:
            found.append(f"{name} {planned}, here {here}")
    return found


def _digests(order: PodOrder, scratch: Path) -> Mapping[str, str]:
    spec = load_kind(order.job.kind)
    memo = Memo(scratch / "digests.db")
    try:
        return CodeDigests(memo).of(spec, order.job.kind)
    finally:
        memo.close()


def _message(order: PodOrder, differing: list[str], here: Mapping[str, str]) -> str:
    names = ", ".join(
        name if name in here else f"{name} (absent)" for name in differing[:_MAX_NAMES]
    )
    rest = f" and {len(differing) - _MAX_NAMES} more" if len(differing) > _MAX_NAMES else ""
    tag = f"{_repository(order.image)}:code-{order.image_tag}"
    return (
        f"image {order.image} holds other code than {order.job.stage} was planned with: "
        f"{names}{rest}. Build the planned code: `docker build -f k8s/image/Dockerfile -t {tag} .`, "
        f"and run with cluster.image: {tag}; or plan with the code that {order.image} holds."
    )


def _repository(image: str) -> str:
    """An image's name without tag and digest; a colon before a slash is a registry's port."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
