"""Batches of images: the same for an example in any batch, any number of threads, after any resume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import DataError
from pipeline.shards import ImageShards, ImageShardWriter
from stages.vision.augment.config import STATISTICS, AugmentConfig, CropConfig, PolicyConfig
from stages.vision.images.batches import ImageReader, TrainingImages, normalised
from stages.vision.images.config import FrameConfig
from stages.vision.images.decode import decode
from tests.images import encoded, image_shards, pixels

FRAME = FrameConfig(size=16, crop_fraction=1.0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ImageShards:
    folder = tmp_path_factory.mktemp("shards")
    image_shards(folder, [pixels(i, 20 + i % 3, 24) for i in range(12)], [i % 2 for i in range(12)])
    return ImageShards(folder)


@pytest.mark.parametrize(
    "augment",
    [
        AugmentConfig(policy=PolicyConfig(kind="randaugment"), cutout=4),
        AugmentConfig(crop=CropConfig(kind="pad"), policy=PolicyConfig(kind="randaugment_uda")),
        AugmentConfig(policy=PolicyConfig(kind="autoaugment_imagenet_v0")),
        AugmentConfig(
            crop=CropConfig(kind="none"), policy=PolicyConfig(kind="autoaugment_cifar10")
        ),
    ],
    ids=lambda a: a.policy.kind,
)
def test_example_is_augmented_the_same_in_any_batch(
    shards: ImageShards, augment: AugmentConfig
) -> None:
    one = TrainingImages(ImageReader(shards, FRAME, threads=1), augment, seed=5)
    reader = ImageReader(shards, FRAME, threads=3)
    many = TrainingImages(reader, augment, seed=5)
    index = np.arange(12)
    whole = one.read(np.full(12, 3), index)
    order = np.random.default_rng(0).permutation(12)
    mixed = many.read(np.full(12, 3), index[order])
    reader.close()
    assert torch.equal(mixed.images, whole.images[torch.from_numpy(order)])
    if whole.hidden is not None:
        assert mixed.hidden is not None
        assert torch.equal(mixed.hidden, whole.hidden[torch.from_numpy(order)])
    other = one.read(np.full(12, 4), index)
    assert (other.images != whole.images).flatten(1).any(1).sum() > 6


def test_central_crop_is_the_image_itself_where_sizes_agree(tmp_path: Path) -> None:
    image_shards(tmp_path, [pixels(1, 16, 16)], [0])
    reader = ImageReader(ImageShards(tmp_path), FRAME, threads=1)
    found = reader.central(np.zeros(1, np.int64))[0]
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), pixels(1, 16, 16))


def test_normalised_is_mean_zero_and_hidden_pixels_are_zero() -> None:
    images = torch.tensor([255, 0, 128], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 2, 2)
    hidden = torch.tensor([[[[True, False], [False, False]]]])
    found = normalised(images, "svhn", hidden)
    mean, std = STATISTICS["svhn"]
    wanted = torch.tensor([(v - m) / s for v, m, s in zip((1, 0, 128 / 255), mean, std)])  # noqa: B905
    torch.testing.assert_close(found[0, :, 0, 1], wanted)
    assert (found[0, :, 0, 0] == 0).all()


def _one(folder: Path, data: bytes, suffix: str) -> ImageShards:
    with ImageShardWriter(folder) as writer:
        writer.add("train", data, suffix=suffix, name="x/y.jpg")
    return ImageShards(folder)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_png_of_any_mode_is_decoded_as_imagefolder_does(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(pixels(3)).convert(mode)
    found = decode(_one(tmp_path, encoded(picture), "png"), 0)
    wanted = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_decoded_about_as_pillow_does(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(pixels(3, 40, 40)).convert(mode)
    data = encoded(picture, "JPEG")
    found = decode(_one(tmp_path, data, "jpg"), 0).permute(1, 2, 0).numpy().astype(int)
    wanted = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(found - wanted).mean() < 4


def test_picture_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    shards = _one(tmp_path, b"no picture at all", "jpg")
    with pytest.raises(DataError, match=r"train-00000\.tar: offset 512: x/y\.jpg: cannot be dec"):
        decode(shards, 0)
    reader = ImageReader(shards, FRAME, threads=2)
    with pytest.raises(DataError, match=r"x/y\.jpg"):
        reader.central(np.zeros(2, np.int64))
    reader.close()
