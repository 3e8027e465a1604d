from pathlib import Path

from pipeline.spec.gpus import installed_gpus


def test_installed_gpus_are_listed_by_bus_address(tmp_path: Path) -> None:
    for address, text in (
        ("0000:65:00.0", "Model: \t\t B\nIRQ: 1\n"),
        ("0000:17:00.0", "Model: A 40\n"),
    ):
        (tmp_path / address).mkdir()
        (tmp_path / address / "information").write_text(text)
    assert installed_gpus(tmp_path) == ("A 40", "B")


def test_card_that_tells_nothing_is_a_card(tmp_path: Path) -> None:
    (tmp_path / "0000:17:00.0").mkdir()
    assert installed_gpus(tmp_path) == ("",)


def test_machine_without_the_driver_has_none(tmp_path: Path) -> None:
    assert installed_gpus(tmp_path / "absent") == ()
