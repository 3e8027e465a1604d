"""Image shards: round trip, webdataset, damage, subsets."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from pipeline.errors import DataError
from pipeline.shards import ImageShards, ImageShardWriter, images, verify
from pipeline.shards.peek import peek_images
from pipeline.shards.subset import choose_per_class
from tests.images import encoded, image_shards, pixels


def _two_units(folder: Path) -> list[bytes]:
    pictures = [encoded(pixels(i)) for i in range(5)]
    with ImageShardWriter(folder, class_names=("a", "b"), unit=0, num_units=2) as writer:
        for i in range(3):
            writer.add("train", pictures[i], suffix="png", name=f"x/{i}.png", label=i % 2)
        writer.add("test", b"other", suffix="jpg", name="t.jpg", label=0)
    with ImageShardWriter(folder, class_names=("a", "b"), unit=1, num_units=2) as writer:
        for i in (3, 4):
            writer.add("train", pictures[i], suffix="png", name=f"x/{i}.png", label=i % 2)
    return pictures


def test_shards_give_back_bytes_labels_and_names_over_units(tmp_path: Path) -> None:
    pictures = _two_units(tmp_path)
    shards = ImageShards(tmp_path)
    assert len(shards) == 5
    assert [bytes(shards.encoded(i)) for i in range(5)] == pictures
    assert shards.labels.tolist() == [0, 1, 0, 1, 0]
    assert list(shards.names) == [f"x/{i}.png" for i in range(5)]
    assert shards.splits == ("test", "train")
    assert len(ImageShards(tmp_path, "test")) == 1
    verify(tmp_path)
    with pytest.raises(IndexError, match="picture 5 of 5"):
        shards.encoded(5)


def test_unit_without_a_picture_of_the_split_is_stepped_over(tmp_path: Path) -> None:
    with ImageShardWriter(tmp_path, unit=0, num_units=2) as writer:
        writer.skip("bad.png")
    with ImageShardWriter(tmp_path, unit=1, num_units=2) as writer:
        writer.add("train", b"1", suffix="jpg", name="1")
    assert bytes(ImageShards(tmp_path).encoded(0)) == b"1"
    with pytest.raises(DataError, match="no labels"):
        ImageShards(tmp_path).labels  # noqa: B018 - the property raises


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_the_same_pictures_and_classes(tmp_path: Path) -> None:
    image_shards(tmp_path, [pixels(i) for i in range(4)], [0, 1, 1, 0])
    found = webdataset.WebDataset(
        [str(tmp_path / "train-00000.tar")], shardshuffle=False, empty_check=False
    )
    samples = list(found.decode("rgb8").to_tuple("png", "cls"))
    assert [label for _, label in samples] == [0, 1, 1, 0]
    for i, (picture, _) in enumerate(samples):
        np.testing.assert_array_equal(picture, pixels(i))


def test_damage_is_named_by_shard_offset_and_source(tmp_path: Path) -> None:
    _two_units(tmp_path)
    path = tmp_path / "train-00000.tar"
    data = bytearray(path.read_bytes())
    data[512 + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"train-00000\.tar: offset 512: x/0\.png: not what was"):
        verify(tmp_path)
    path.write_bytes(data[:-512])
    with pytest.raises(DataError, match="truncated"):
        ImageShards(tmp_path).encoded(0)
    path.unlink()
    with pytest.raises(DataError, match="not there"):
        ImageShards(tmp_path).encoded(0)


def test_changed_label_is_found_by_verify(tmp_path: Path) -> None:
    _two_units(tmp_path)
    path = tmp_path / "train-00001.tar"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n", 1)[:-1] + b"\1")
    with pytest.raises(DataError, match="a label, a header or padding"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [7, 0, 0]}, "names no class"),
        ({"sizes": [1]}, "1 sizes for 3 pictures"),
        ({"offsets": [10**9, 0, 0]}, "ends after"),
        ({"file": "../x.tar"}, "pattern"),
        ({"offsets": [-1, 0, 0]}, "greater than or equal"),
    ],
)
def test_hostile_index_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    _two_units(tmp_path)
    path = tmp_path / "index-00000.json"
    index = json.loads(path.read_text())
    shard = next(s for s in index["shards"] if s["split"] == "train")
    shard.update(change)
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=message):
        ImageShards(tmp_path)


def _bad_unit(folder: Path) -> None:
    with ImageShardWriter(folder) as writer:
        writer.add("train", b"1", suffix="jpg", name="1")
        writer.add("train", b"1", suffix="jpg", name="2", label=0)


def test_failed_unit_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label 0"):
        _bad_unit(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_shards_than_open_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_OPEN_FILES", 1)
    pictures = _two_units(tmp_path)
    shards = ImageShards(tmp_path)
    views = [shards.encoded(i) for i in (0, 4, 0)]
    assert [bytes(view) for view in views] == [pictures[0], pictures[4], pictures[0]]


def test_peek_shows_names_and_classes(tmp_path: Path) -> None:
    _two_units(tmp_path)
    first = peek_images(tmp_path, 1)
    assert [(s.split, s.label, s.name) for s in first] == [
        ("test", "a", "t.jpg"),
        ("train", "a", "x/0.png"),
    ]


def test_subset_is_stratified_nested_and_free_of_order() -> None:
    names = [f"{i}.png" for i in range(1000)]
    labels = np.arange(1000) % 7
    tenth = choose_per_class(names, labels, seed=3, fraction=0.1)
    hundredth = choose_per_class(names, labels, seed=3, fraction=0.01)
    assert set(hundredth) < set(tenth)
    assert np.bincount(labels[tenth]).tolist() == [14] * 7
    assert np.bincount(labels[hundredth]).tolist() == [1] * 7
    order = np.random.default_rng(0).permutation(1000)
    shuffled = choose_per_class([names[i] for i in order], labels[order], seed=3, fraction=0.1)
    assert {names[i] for i in tenth} == {names[order[i]] for i in shuffled}
    assert set(choose_per_class(names, labels, seed=4, fraction=0.1)) != set(tenth)
    four = choose_per_class(names, labels, seed=3, per_class=4)
    assert np.bincount(labels[four]).tolist() == [4] * 7
    with pytest.raises(ValueError, match="fewer than per_class=143"):
        choose_per_class(names, labels, seed=3, per_class=143)


def test_picture_of_the_shard_decodes(tmp_path: Path) -> None:
    image_shards(tmp_path, [pixels(1)], [0])
    data = ImageShards(tmp_path).encoded(0)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels(1))
