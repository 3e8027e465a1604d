"""Missing Debian packages: a skip that says what to do, and a failure where none may pass."""

import pytest

from tests.debian import REQUIRE_VARIABLE, debian_packages, debian_program


def test_debian_program_missing_skips_and_says_how_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)
    package = debian_packages()[0]
    with pytest.raises(pytest.skip.Exception, match=f"apt-get install .* {package}$"):
        debian_program(package, "no-such-program")


def test_debian_program_missing_where_required_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_VARIABLE, "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        debian_program(debian_packages()[0], "no-such-program")


def test_debian_program_of_an_unlisted_package_is_refused() -> None:
    with pytest.raises(LookupError, match=r"apt\.txt"):
        debian_program("never-listed", "sh")


def test_debian_program_present_gives_its_path() -> None:
    assert debian_program(debian_packages()[0], "sh").endswith("/sh")
