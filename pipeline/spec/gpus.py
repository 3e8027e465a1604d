"""The NVIDIA GPUs of this machine, without starting a process: `nvidia-smi` costs up to a second."""

from pathlib import Path

_LISTED = Path("/proc/driver/nvidia/gpus")
"""The kernel module has a folder for each card here, named by its bus address."""


def installed_gpus(listed: Path = _LISTED) -> tuple[str, ...]:
    """Model of each card in the order of their bus addresses; "" for one that tells none."""
    try:
        cards = sorted(listed.iterdir())
    except OSError:
        return ()
    return tuple(map(_model, cards))


def _model(card: Path) -> str:
    try:
        lines = (card / "information").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "")
