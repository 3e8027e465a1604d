"""Finding Source fields wherever they are, and making them absolute."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from pipeline.spec.config import Source, SourceText, StageConfig
from pipeline.spec.sources import SourceField, absolute_sources, names_a_file, source_fields


class _Part(BaseModel):
    text: Source
    note: str


class _Config(StageConfig):
    one: Source
    note: str
    maybe: Source | None = None
    default: Source = "d.txt"
    many: tuple[Source, ...] = ()
    named: Mapping[str, Source] = Field({})
    pairs: tuple[tuple[str, Source], ...] = ()
    part: _Part | None = None


CONFIG = _Config.model_validate(
    {
        "one": "a/*.txt",
        "note": "b",
        "many": ["/abs", "s3://bucket/x"],
        "named": {"k": "../c"},
        "pairs": [["note", "d"]],
        "part": {"text": "e", "note": "f"},
    }
)


def test_source_fields_finds_sources_and_only_them() -> None:
    assert source_fields(CONFIG) == [
        SourceField(("one",), "a/*.txt"),
        SourceField(("default",), "d.txt"),
        SourceField(("many", 0), "/abs"),
        SourceField(("many", 1), "s3://bucket/x"),
        SourceField(("named", "k"), "../c"),
        SourceField(("pairs", 0, 1), "d"),
        SourceField(("part", "text"), "e"),
    ]


def test_absolute_sources_start_at_the_folder() -> None:
    config = absolute_sources(CONFIG, Path("/w/dag"))
    assert [field.text for field in source_fields(config)] == [
        "/w/dag/a/*.txt",
        "/w/dag/d.txt",
        "/abs",
        "s3://bucket/x",
        "/w/c",
        "/w/dag/d",
        "/w/dag/e",
    ]
    assert isinstance(config, _Config)
    assert (config.note, config.pairs[0][0]) == ("b", "note")


def test_absolute_sources_without_relative_ones_is_the_same_object() -> None:
    config = _Config(one="/a", note="b", default="/d")
    assert absolute_sources(config, Path("/w")) is config


def test_absolute_sources_signs_in_the_folders_name_are_no_glob(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    config = absolute_sources(_Config(one="*.txt", note="", default="a.txt"), folder)
    assert isinstance(config, _Config)
    assert names_a_file(config.one)
    assert names_a_file(config.default)


def test_source_is_a_text_like_any_other() -> None:
    assert CONFIG.one == "a/*.txt"
    assert isinstance(CONFIG.one, SourceText)
    assert type(CONFIG.model_dump(mode="json")["one"]) is str


def test_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    (tmp_path / "full" / "deeper").mkdir(parents=True)
    (tmp_path / "full" / "deeper" / "a.txt").write_text("x")
    names = ["empty", "full", "full/deeper/a.txt", "full/**/*.txt", "full/*.txt", "gone"]
    found = [name for name in names if names_a_file(str(tmp_path / name))]
    assert found == ["full", "full/deeper/a.txt", "full/**/*.txt"]
