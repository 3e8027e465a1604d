"""Programs of Debian packages that some tests need: named in tests/apt.txt, one package a line.

Where a package is missing its tests skip and say how to install it. With PIPELINE_REQUIRE_APT=1,
which `.ci/run` sets after installing them all, that is a failure: no skip passes there.
"""

import os
import shutil
from pathlib import Path

import pytest

APT_FILE = Path(__file__).parent / "apt.txt"
REQUIRE_VARIABLE = "PIPELINE_REQUIRE_APT"


def debian_packages() -> list[str]:
    """The packages of tests/apt.txt."""
    return APT_FILE.read_text().split()


def debian_program(package: str, program: str) -> str:
    """The path of a program that a Debian package brings; skips the test where it is missing.

    Raises:
        LookupError: the package does not stand in tests/apt.txt.
    """
    if package not in debian_packages():
        msg = f"add {package} to {APT_FILE.name}: what is not named there is not installed for CI"
        raise LookupError(msg)
    found = shutil.which(program)
    if found is None:
        reason = f"needs {program}: apt-get install -y --no-install-recommends {package}"
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
