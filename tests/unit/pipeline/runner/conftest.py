"""The laboratory of these tests."""

from pathlib import Path

import pytest

from tests.runner.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)
