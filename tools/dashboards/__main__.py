"""`python -m tools.dashboards`: writes what is made of code; a test compares it with what is there."""

import sys
from pathlib import Path

from tools.dashboards.files import built_files

_ROOT = Path(__file__).parents[2]


def main() -> None:
    """Writes every file that `built_files` names."""
    for name, text in built_files().items():
        path = _ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
