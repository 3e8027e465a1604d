"""Finding kinds and the functions they run."""

import logging
import os
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, UserError
from pipeline.spec.kinds import kind_names, kind_of, list_kinds, load_entry, load_kind, resolve_kind
from tests.builders import TOYS


def test_kind_of_an_entry_point_is_its_name(tmp_path: Path) -> None:
    assert kind_of("data_prep.text", tmp_path) == "data_prep.text"


def test_kind_of_a_file_starts_at_the_folder(tmp_path: Path) -> None:
    assert kind_of("./x/../my.py:A", tmp_path) == f"{tmp_path.resolve()}/my.py:A"


def test_resolve_kind_finds_the_built_in_ones(tmp_path: Path) -> None:
    for name in ("command", "import", "check"):
        assert resolve_kind(name, tmp_path).name == name


def test_kind_names_imports_nothing() -> None:
    before = set(sys.modules)
    assert {"check", "command", "import", "xlnet.pretrain"} <= set(kind_names())
    assert not {name for name in set(sys.modules) - before if name.startswith("stages")}


def test_list_kinds_has_every_kind_that_imports(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        names = {spec.name for spec in list_kinds()}
    assert {"check", "command", "import", "data_prep.text"} <= names
    assert len(names) + len(caplog.records) == len(kind_names())


def test_load_kind_takes_what_kind_of_gives(tmp_path: Path) -> None:
    shutil.copy(TOYS, tmp_path / "toys.py")
    assert load_kind(kind_of("toys.py:TRAIN", tmp_path)).name == "toy.train"


def test_load_kind_that_is_gone_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.py cannot be read: No such file or directory"):
        load_kind(f"{tmp_path}/gone.py:SPEC")
    with pytest.raises(ConfigError, match="unknown stage kind 'gone'"):
        load_kind("gone")


def test_load_entry_of_a_file_kind_is_in_that_file(tmp_path: Path) -> None:
    shutil.copy(TOYS, tmp_path / "toys.py")
    kind = kind_of("toys.py:TRAIN", tmp_path)
    entry = load_entry(load_kind(kind), kind)
    assert entry.__code__.co_filename == str(tmp_path / "toys.py")
    assert entry.__name__ == "train"


def test_load_entry_of_a_file_kind_may_be_in_a_package(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pipeline.spec.config import StageConfig\n"
        "from pipeline.spec.stage import StageSpec\n"
        "SPEC = StageSpec(name='mine', config=StageConfig, run='json:dumps')\n"
        "GONE = StageSpec(name='mine', config=StageConfig, run='json:gone')\n"
        "NOWHERE = StageSpec(name='mine', config=StageConfig, run='no_such_module:run')\n"
    )
    kind = f"{tmp_path}/mine.py:SPEC"
    assert load_entry(load_kind(kind), kind)([1]) == "[1]"
    with pytest.raises(ConfigError, match="run='json:gone' names no function of json"):
        load_entry(load_kind(f"{tmp_path}/mine.py:GONE"), kind)
    with pytest.raises(ConfigError, match="run='no_such_module:run' does not import: No module"):
        load_entry(load_kind(f"{tmp_path}/mine.py:NOWHERE"), kind)


def test_resolve_kind_of_a_file_whose_function_is_misspelled_says_so(tmp_path: Path) -> None:
    text = TOYS.read_text()
    (tmp_path / "toys.py").write_text(text.replace('run="toys:train"', 'run="toys:trian"'))
    with pytest.raises(UserError, match=r"TRAIN says run='toys:trian'.* Did you mean train\?"):
        resolve_kind("./toys.py:TRAIN", tmp_path)


def test_resolve_kind_sees_a_changed_file(tmp_path: Path) -> None:
    shutil.copy(TOYS, tmp_path / "toys.py")
    assert resolve_kind("toys.py:CUT", tmp_path).name == "toy.cut"
    file = tmp_path / "toys.py"
    file.write_text(file.read_text().replace("toy.cut", "toy.cat"))
    assert resolve_kind("toys.py:CUT", tmp_path).name == "toy.cat"


def test_resolve_kind_files_of_the_same_name_do_not_meet(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        text = TOYS.read_text().replace("toy.cut", f"{folder}.cut")
        (tmp_path / folder / "toys.py").write_text(text)
    names = {resolve_kind(f"{folder}/toys.py:CUT", tmp_path).name for folder in "ab"}
    assert names == {"a.cut", "b.cut"}
    assert "toys" not in sys.modules


def test_resolve_kind_runs_a_file_once(tmp_path: Path) -> None:
    shutil.copy(TOYS, tmp_path / "toys.py")
    assert resolve_kind("toys.py:CUT", tmp_path) is resolve_kind("./toys.py:CUT", tmp_path)


def test_resolve_kind_that_failed_fails_again(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('not\\ntoday')\n")
    for _ in range(2):
        with pytest.raises(UserError, match="line 1: ValueError: not today"):
            resolve_kind("bad.py:SPEC", tmp_path)


def test_resolve_kind_what_is_no_python_file_is_an_unknown_kind() -> None:
    with pytest.raises(UserError, match="unknown stage kind '/dev/zero:SPEC'"):
        resolve_kind("/dev/zero:SPEC", Path("/"))


def test_resolve_kind_reads_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.py")
    with pytest.raises(UserError, match="no regular file"):
        resolve_kind("endless.py:SPEC", tmp_path)
