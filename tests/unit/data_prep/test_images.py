"""data_prep.images: layouts, lists, archives, corrupt files, workers, subsets."""

import io
import logging
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from data_prep import images
from data_prep.images_config import ImagesConfig
from data_prep.stage import IMAGES
from pipeline.errors import DataError
from pipeline.shards import ImageShards
from pipeline.spec.context import World
from pipeline.spec.ports import FOLDER
from tests.contexts import stage_context
from tests.images import class_tree, encoded, pixels, write_tree


def _prepare(folder: Path, *, world: World | None = None, seed: int = 17, **values: Any) -> Path:
    config = ImagesConfig.model_validate(values)
    images.run(stage_context(config, folder, output="shards", world=world, seed=seed))
    return folder / "shards"


def _content(shards: ImageShards) -> dict[str, str]:
    return {
        name: shards.class_names[label]
        for name, label in zip(shards.names, shards.labels.tolist(), strict=True)
    }


def test_class_folders_become_labels(tmp_path: Path) -> None:
    source = class_tree(tmp_path / "in", ("dog", "cat"), 3)
    write_tree(source, {"dog/notes.txt": b"no image", ".hidden/x.png": b"no"})
    shards = ImageShards(_prepare(tmp_path, source=str(source)))
    assert shards.class_names == ("cat", "dog")
    assert _content(shards) == {f"{c}/{i:03d}.png": c for c in ("cat", "dog") for i in range(3)}
    for i, name in enumerate(shards.names):
        assert bytes(shards.encoded(i)) == (source / name).read_bytes()


@pytest.mark.parametrize("prefix", ["", "cifar10/"])
def test_split_folders_become_splits(tmp_path: Path, prefix: str) -> None:
    source = tmp_path / "in"
    class_tree(source, ("a", "b"), 4, prefix=f"{prefix}train/")
    class_tree(source, ("a", "b"), 2, prefix=f"{prefix}val/")
    folder = _prepare(tmp_path, source=str(source))
    assert ImageShards(folder).splits == ("train", "validation")
    assert len(ImageShards(folder, "validation")) == 4
    assert set(_content(ImageShards(folder)).values()) == {"a", "b"}


def test_nested_class_folders_count_from_the_top_as_imagefolder_does(tmp_path: Path) -> None:
    source = class_tree(tmp_path / "in", ("a", "b"), 1)
    write_tree(source, {"a/deep/er/x.png": encoded(pixels(5))})
    assert _content(ImageShards(_prepare(tmp_path, source=str(source))))["a/deep/er/x.png"] == "a"


def test_list_file_says_which_images_and_labels(tmp_path: Path) -> None:
    source = class_tree(tmp_path / "in", ("a", "b"), 3)
    train = tmp_path / "train.csv"
    train.write_text("file,kind\na/000.png,red\nb/001.png,blue\n")
    test = tmp_path / "test.jsonl"
    test.write_text('{"file": "a/002.png", "kind": "blue"}\n')
    values: dict[str, Any] = {
        "source": str(source),
        "list_file": str(train),
        "test_list_file": str(test),
        "path_column": "file",
        "label": "column",
        "label_column": "kind",
    }
    folder = _prepare(tmp_path, **values)
    assert _content(ImageShards(folder)) == {"a/000.png": "red", "b/001.png": "blue"}
    assert _content(ImageShards(folder, "test")) == {"a/002.png": "blue"}
    test.write_text('{"file": "../secret.png", "kind": "blue"}\n')
    with pytest.raises(DataError, match=r"names '\.\./secret\.png', which is no image"):
        _prepare(tmp_path / "2", **values)


def _archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, data in files.items():
                file.writestr(name, data)
        return path
    mode: Any = {".tar": "w", ".gz": "w:gz", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.xz", "x.zip"])
def test_archive_is_read_as_the_folder_it_holds(tmp_path: Path, name: str) -> None:
    files = {f"top/{c}/{i}.png": encoded(pixels(i)) for c in "ab" for i in range(2)}
    path = _archive(tmp_path / name, files)
    shards = ImageShards(_prepare(tmp_path, source=str(path)))
    found = {n: bytes(shards.encoded(i)) for i, n in enumerate(shards.names)}
    assert found == files
    assert shards.class_names == ("a", "b")


def test_archive_a_class_becomes_a_class(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("n01", "n02"):
        _archive(source / f"{name}.tar", {f"{name}_1.png": encoded(pixels(1))})
    assert _content(ImageShards(_prepare(tmp_path, source=str(source)))) == {
        "n01/n01_1.png": "n01",
        "n02/n02_1.png": "n02",
    }


def _link_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("a/x.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)


def test_hostile_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    _archive(path, {"../a/x.png": b"1"})
    with pytest.raises(DataError, match="outside the folder"):
        _prepare(tmp_path / "1", source=str(path))
    _link_tar(path)
    with pytest.raises(DataError, match="a link"):
        _prepare(tmp_path / "2", source=str(path))
    _archive(path, {f"{c}/x.png": encoded(pixels(0, 99, 99)) for c in "ab"})
    whole = path.read_bytes()
    for length in (len(whole) // 8, 700):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.tar"):
            _prepare(tmp_path / str(length), source=str(path))


def test_corrupt_images_are_named_and_skipped_only_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = class_tree(tmp_path / "in", ("a", "b"), 3)
    jpeg = encoded(pixels(1, 64, 64), "JPEG")
    bad = {"a/cut.jpg": jpeg[: len(jpeg) // 2], "b/text.png": b"hello", "b/empty.png": b""}
    write_tree(source, bad)
    with pytest.raises(DataError, match="3 of 9 images are corrupt") as caught:
        _prepare(tmp_path, source=str(source))
    assert all(name in str(caught.value) for name in bad)
    assert list((tmp_path / "shards").iterdir()) == []
    with caplog.at_level(logging.WARNING):
        folder = _prepare(tmp_path / "skip", source=str(source), on_corrupt="skip")
    assert "skipped 3 of 9 images" in caplog.text
    assert len(ImageShards(folder)) == 6
    assert all(name in (folder / "index-00000.json").read_text() for name in bad)


def test_image_that_claims_to_be_gigabytes_is_refused(tmp_path: Path) -> None:
    source = class_tree(tmp_path / "in", ("a", "b"), 1)
    header = encoded(Image.new("1", (9500, 9500)))
    write_tree(source, {"a/bomb.png": header})
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(DataError, match=r"bomb\.png: 9500x9500 pixels"),
    ):
        _prepare(tmp_path, source=str(source))


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    source = class_tree(tmp_path / "in", ("a", "b"), 5)
    one = _prepare(tmp_path / "one", source=str(source), unit_images=3)
    for rank in range(3):
        world = World(rank=rank, size=3)
        _prepare(tmp_path / "many", source=str(source), unit_images=3, world=world)
    many = tmp_path / "many/shards"
    files = {path.name: path.read_bytes() for path in one.iterdir()}
    assert len(files) == 8
    assert files == {path.name: path.read_bytes() for path in many.iterdir()}
    assert len({*ImageShards(one).labels[:5].tolist()}) == 2, "classes are mixed"


def test_resize_and_encode(tmp_path: Path) -> None:
    source = write_tree(
        tmp_path / "in",
        {
            "a/wide.png": encoded(pixels(1, 40, 80)),
            "a/small.bmp": encoded(pixels(2, 10, 10), "BMP"),
            "b/alpha.png": encoded(Image.fromarray(pixels(3, 9, 9)).convert("RGBA")),
            "b/deep.png": encoded(Image.fromarray(np.full((8, 8), 0x8000, np.uint16))),
        },
    )
    shards = ImageShards(_prepare(tmp_path, source=str(source), shorter_side=20))
    found = {}
    for i, name in enumerate(shards.names):
        with Image.open(io.BytesIO(shards.encoded(i))) as image:
            found[name] = (image.format, image.size, image.convert("RGB").getpixel((0, 0)))
    assert found["a/wide.png"][:2] == ("PNG", (40, 20))
    assert found["a/small.bmp"] == ("PNG", (10, 10), tuple(pixels(2, 10, 10)[0, 0]))
    assert found["b/deep.png"] == ("PNG", (8, 8), (128, 128, 128))
    jpeg = ImageShards(_prepare(tmp_path / "j", source=str(source), encode="jpeg"))
    assert all(bytes(jpeg.encoded(i)[:2]) == b"\xff\xd8" for i in range(4))


def test_subset_follows_the_seed_and_leaves_other_splits_alone(tmp_path: Path) -> None:
    source = tmp_path / "in"
    class_tree(source, ("a", "b"), 20, prefix="train/")
    class_tree(source, ("a", "b"), 5, prefix="test/")
    values: dict[str, Any] = {"source": str(source), "subset": {"per_class": 4}}
    first = _prepare(tmp_path / "1", **values)
    assert np.bincount(ImageShards(first).labels).tolist() == [4, 4]
    assert len(ImageShards(first, "test")) == 10
    other = _prepare(tmp_path / "2", seed=18, **values)
    assert set(ImageShards(first).names) != set(ImageShards(other).names)
    assert IMAGES.depends_on_seed(ImagesConfig.model_validate(values))
    assert not IMAGES.depends_on_seed(ImagesConfig(source="x"))


def test_held_out_fraction_and_unlabelled_images(tmp_path: Path) -> None:
    source = class_tree(tmp_path / "in", ("a", "b"), 20)
    folder = _prepare(tmp_path, source=str(source), validation_fraction=0.3, label="none")
    train, held_out = ImageShards(folder), ImageShards(folder, "validation")
    assert len(train) + len(held_out) == 40
    assert 4 < len(held_out) < 20
    assert train.class_names == ()


def test_ports_follow_the_configuration() -> None:
    assert IMAGES.ports(ImagesConfig())[0] == {"images": FOLDER}
    assert IMAGES.ports(ImagesConfig(source="x"))[0] == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"validation_source": "x"}, "go with a source"),
        ({"source": "x", "label": "column"}, "go with a list_file"),
        ({"source": "x", "subset": {}}, "either fraction or per_class"),
        ({"source": "x", "label": "none", "classes": ["a", "b"]}, "need labels"),
        ({"source": "x", "classes": ["a"]}, "two or more"),
        ({"source": "x", "validation_source": "y", "validation_fraction": 0.1}, "second"),
    ],
)
def test_configuration_without_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImagesConfig.model_validate(values)


def test_source_without_images_or_classes_is_an_error(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in", {"a.txt": b""})
    with pytest.raises(DataError, match="none of its 1 files is an image"):
        _prepare(tmp_path, source=str(source))
    write_tree(source, {"x.png": encoded(pixels(1))})
    with pytest.raises(DataError, match="lies in no class folder"):
        _prepare(tmp_path, source=str(source))
