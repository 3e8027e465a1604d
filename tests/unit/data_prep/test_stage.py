"""Stage kinds: ports that follow the configuration, and configurations that make no sense."""

import platform
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_prep import synthetic
from data_prep.config import SyntheticConfig, TextConfig, TokenizerConfig
from data_prep.stage import SYNTHETIC, TEXT, TOKENIZER
from pipeline.spec.ports import FOLDER, SHARDS
from tests.contexts import stage_context


@pytest.mark.parametrize("spec", [SYNTHETIC, TOKENIZER, TEXT])
def test_kind_is_what_the_entry_point_of_its_name_gives(spec: Any) -> None:
    (found,) = entry_points(group="pipeline.stages", name=spec.name)
    assert found.load() is spec


def test_stage_kinds_load_without_torch_and_sentencepiece() -> None:
    code = (
        "import sys, data_prep.stage; print({'torch', 'sentencepiece', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_text_port_is_there_only_where_nothing_else_gives_text() -> None:
    assert TOKENIZER.ports(TokenizerConfig())[0] == {"text": FOLDER}
    assert TOKENIZER.ports(TokenizerConfig(source="a.txt"))[0] == {}
    assert TOKENIZER.ports(TokenizerConfig(format="stdlib"))[0] == {}
    assert set(TEXT.ports(TextConfig())[0]) == {"tokenizer", "text"}
    assert set(TEXT.ports(TextConfig(source="a.txt"))[0]) == {"tokenizer"}


def test_labels_make_the_output_classified() -> None:
    assert TEXT.ports(TextConfig(source="a"))[1] == {"shards": SHARDS("tokens")}
    assert TEXT.ports(TextConfig(source="a", label="folder"))[1] == {"shards": SHARDS("classified")}


def test_standard_library_is_keyed_by_the_version_of_python() -> None:
    config = TextConfig.model_validate({"format": "stdlib"})
    assert config.python is not None
    version, digest = config.python.rsplit("-", 1)
    assert (version, len(digest)) == (platform.python_version(), 12)
    assert TextConfig.model_validate(config.model_dump()) == config
    assert TextConfig(source="a").python is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "stdlib", "source": "a"}, "takes no source"),
        ({"format": "stdlib", "python": "2.7.18"}, r"python is 2\.7\.18, but this is 3\."),
        ({"source": "a", "python": "3.11.7"}, "goes with format: stdlib only"),
        ({"source": "a", "classes": ["x", "y"]}, "classes needs label"),
        ({"source": "a", "label_fraction": 0.1}, "label_fraction needs label"),
        ({"label": "folder", "classes": ["x", "y"], "max_classes": 2}, "leave max_classes out"),
        ({"label": "folder", "classes": ["x", "x"]}, "names one twice: x, x"),
        ({"label": "column", "format": "text"}, "has no columns"),
        ({"test_source": "a"}, "go with a source"),
        (
            {"source": "a", "validation_source": "b", "validation_fraction": 0.1},
            "both make a validation split",
        ),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextConfig.model_validate(values)


def test_synthetic_text_depends_on_the_seed_alone(tmp_path: Path) -> None:
    texts = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        context = stage_context(
            SyntheticConfig(documents=6, classes=2), tmp_path / name, output="folder", seed=seed
        )
        synthetic.run(context)
        files = sorted((tmp_path / name / "folder").rglob("*.txt"))
        texts[name] = [(file.parent.name, file.name, file.read_text()) for file in files]
    assert texts["a"] == texts["b"] != texts["c"]
    assert [folder for folder, _, _ in texts["a"]] == ["topic0"] * 3 + ["topic1"] * 3


def test_generated_images_are_the_same_for_a_seed_and_of_the_asked_classes(tmp_path: Path) -> None:
    config = SyntheticConfig(kind="images", images=6, classes=3, image_size=16)
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        synthetic.run(stage_context(config, folder, output="folder", seed=seed))
    files = [
        {str(p.relative_to(f / "folder")): p.read_bytes() for p in sorted(f.rglob("*.png"))}
        for f in folders
    ]
    assert files[0] == files[1] != files[2]
    assert sorted(files[0])[:2] == ["class0/000000.png", "class0/000003.png"]
    with pytest.raises(ValidationError, match="kind: images takes images"):
        SyntheticConfig(kind="images", documents=3)
