"""Training batches of images beside torchvision's ImageFolder and DataLoader with as many workers.

    python -m tests.bench.bench_images [--runs 10] [--workers 2] [--write]

Both read the same JPEG files from a warm page cache, take a random part (the same distribution),
resize it bicubically with antialiasing, flip, and collate uint8 batches in shuffled order. A second
table times the two decoders alone: this is what the reader's choice rests on.
"""

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from data_prep import images
from data_prep.images_config import ImagesConfig
from pipeline.shards import ImageShards
from pipeline.training.method import StreamSpec
from pipeline.training.streams import Streams
from stages.vision.augment.config import AugmentConfig
from stages.vision.images.batches import ImageReader, TrainingImages
from stages.vision.images.config import FrameConfig
from stages.vision.images.decode import decode
from tests.bench.ratios import RESULTS, interleave, machine, table
from tests.contexts import stage_context

CASES = ((32, 32, 256, 4000), (500, 224, 64, 400))
"""Pixels of a file's side, of what the network sees, images a batch, and files."""


def make_files(folder: Path, side: int, count: int) -> Path:
    """JPEG files in two classes, with about the detail of photographs."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
        target = folder / "ab"[i % 2]
        target.mkdir(parents=True, exist_ok=True)
        picture = coarse.resize((side, side), Image.Resampling.BICUBIC)
        picture.save(target / f"{i:05d}.jpg", quality=92)
    return folder


def ours(shards: Path, size: int, batch: int, workers: int) -> Iterator[torch.Tensor]:
    """Batches as `vision.classify` reads them, one ahead as its loader does."""
    reader = ImageReader(ImageShards(shards), FrameConfig(size=size), threads=workers)
    pixels = TrainingImages(reader, AugmentConfig(), seed=1)
    spec = StreamSpec(size=len(reader.shards), batch_size=batch)
    streams = Streams({"images": spec}, seed=1, rank=0, size=1, num_micro=1)

    def read(step: int) -> torch.Tensor:
        picks = streams.picks(step)[0]["images"]
        return pixels.read(picks.epoch, picks.index).images

    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(read, 0)
        step = 1
        while True:
            current = following.result()
            following = ahead.submit(read, step)
            step += 1
            yield current


def theirs(folder: Path, size: int, batch: int, workers: int) -> Iterator[torch.Tensor]:
    """ImageFolder's, epoch after epoch, with workers that stay."""
    bicubic = v2.InterpolationMode.BICUBIC
    crop = v2.RandomResizedCrop(size, interpolation=bicubic, antialias=True)
    steps = [crop, v2.RandomHorizontalFlip(), v2.PILToTensor()]
    data = ImageFolder(str(folder), v2.Compose(steps))
    loader = DataLoader(
        data, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True
    )
    while True:
        for batch_images, _ in loader:
            yield batch_images


def rate_of(batches: Iterator[torch.Tensor], batch: int, steps: int) -> Callable[[], float]:
    """Images a second over some batches of a loader that goes on."""

    def measure() -> float:
        begin = time.perf_counter()
        shapes = {tuple(images.shape) for images in islice(batches, steps)}
        seconds = time.perf_counter() - begin
        assert len(shapes) == 1
        return batch * steps / seconds

    return measure


def decoder_rates(
    shards: ImageShards, count: int
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Images a second, one thread: Pillow to an array, and ours."""

    def pillow(i: int) -> None:
        with Image.open(io.BytesIO(shards.encoded(i))) as image:
            np.asarray(image.convert("RGB"))

    def timed(work: Callable[[int], object]) -> Callable[[], float]:
        def measure() -> float:
            begin = time.perf_counter()
            for i in range(count):
                work(i % len(shards))
            return count / (time.perf_counter() - begin)

        return measure

    return timed(pillow), timed(lambda i: decode(shards, i))


def main() -> None:
    """Prints the tables, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    loading, decoding = [], []
    with tempfile.TemporaryDirectory() as name:
        for side, size, batch, count in CASES:
            root = Path(name) / str(side)
            files = make_files(root / "files", side, count)
            images.run(stage_context(ImagesConfig(source=str(files)), root, output="shards"))
            steps = max(2, count // batch // 2)
            case = f"{side} px to {size} px, batch {batch}, {options.workers} workers"
            pair = (
                rate_of(theirs(files, size, batch, options.workers), batch, steps),
                rate_of(ours(root / "shards", size, batch, options.workers), batch, steps),
            )
            loading.append(interleave(case, options.runs, *pair))
            shards = ImageShards(root / "shards")
            rates = decoder_rates(shards, count // 4)
            decoding.append(interleave(f"{side} px JPEG", options.runs, *rates))
    text = "\n\n".join(
        (
            "# Image batches",
            machine("torch", "torchvision", "pillow"),
            f"`python -m tests.bench.bench_images --runs {options.runs} --workers {options.workers}`",
            table(loading, "ImageFolder + DataLoader", "images/s"),
            table(decoding, "Pillow", "images/s, one thread"),
        )
    )
    print(text)
    if options.write:
        (RESULTS / f"images_{options.workers}workers.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
