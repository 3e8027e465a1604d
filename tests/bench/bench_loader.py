"""Token batches in random order beside webdataset's and litdata's.

    python -m tests.bench.bench_loader [--runs 10] [--write]

Needs litdata beside the locked packages, so run it in a throw-away environment. 50,000 samples of
1,024 tokens of two bytes; batches of 64 in shuffled order, one process, page cache warm. All three
are checked to give every sample once in an epoch. Ours draws its order with the training streams,
so that it can go on at any step of any epoch.
"""

import argparse
import hashlib
import io
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import litdata
import numpy as np
import webdataset
from numpy.typing import NDArray

from pipeline.shards import TokenShards, TokenShardWriter
from pipeline.training.method import StreamSpec
from pipeline.training.streams import Streams
from tests.bench.ratios import RESULTS, interleave, machine, table
from tests.shards import TOKENIZER

NUM_SAMPLES = 50_000
LENGTH = 1024
BATCH = 64
VOCAB_SIZE = 32_000
NUM_STEPS = NUM_SAMPLES // BATCH
# So many batches that each measurement takes a good part of a second.
WEBDATASET_STEPS = 150
OUR_STEPS = 8 * NUM_STEPS

Tokens = NDArray[np.integer[Any]]
Batches = Callable[[int], Iterator[Tokens]]


def samples() -> Tokens:
    """(samples, tokens) made up; each begins with its own number, so that all differ."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCAB_SIZE, (NUM_SAMPLES, LENGTH)).astype(np.uint16)
    number = np.arange(NUM_SAMPLES)
    tokens[:, 0], tokens[:, 1] = number % VOCAB_SIZE, number // VOCAB_SIZE
    return tokens


def write_ours(folder: Path, tokens: Tokens) -> None:
    with TokenShardWriter(folder, vocab_size=VOCAB_SIZE, tokenizer=TOKENIZER) as writer:
        for row in tokens:
            writer.add("train", row)


def ours(folder: Path) -> Batches:
    shards = TokenShards(folder)

    def batches(epoch: int) -> Iterator[Tokens]:
        spec = StreamSpec(size=NUM_SAMPLES, batch_size=BATCH)
        streams = Streams({"text": spec}, seed=17, rank=0, size=1, num_micro=1)
        first = epoch * NUM_STEPS
        for step in count(first):
            picks = streams.picks(step)[0]["text"]
            yield shards.rows(picks.index * LENGTH, LENGTH)

    return batches


def write_webdataset(folder: Path, tokens: Tokens) -> None:
    with tarfile.open(folder / "train.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, row in enumerate(tokens):
            info = tarfile.TarInfo(f"{number:08d}.bin")
            info.size = row.nbytes
            tar.addfile(info, io.BytesIO(row.tobytes()))


def web(folder: Path) -> Batches:
    def batches(epoch: int) -> Iterator[Tokens]:
        dataset = webdataset.WebDataset(
            f"file:{folder}/train.tar", shardshuffle=False, empty_check=False, seed=epoch
        )
        rows = dataset.shuffle(1000).to_tuple("bin").map(lambda s: np.frombuffer(s[0], np.uint16))
        yield from rows.batched(BATCH, collation_fn=np.stack)

    return batches


def _row(job: tuple[str, int]) -> Tokens:
    row: Tokens = np.load(job[0], mmap_mode="r")[job[1]].copy()
    return row


def write_litdata(folder: Path, tokens: Tokens) -> None:
    np.save(folder / "all.npy", tokens)
    jobs = [(str(folder / "all.npy"), i) for i in range(NUM_SAMPLES)]
    litdata.optimize(
        fn=_row, inputs=jobs, output_dir=str(folder / "lit"), chunk_bytes="64MB", num_workers=1
    )


def lit(folder: Path) -> Batches:
    def batches(epoch: int) -> Iterator[Tokens]:
        dataset = litdata.StreamingDataset(str(folder / "lit"), shuffle=True, seed=epoch)
        rows = (row for row in dataset)  # the data set begins anew whenever it is asked for iter()
        while batch := list(islice(rows, BATCH)):
            yield np.stack(batch)

    return batches


def rate(batches: Batches, epoch: int, num_steps: int) -> float:
    """Samples a second, from the first batch on; opening is not counted for anyone."""
    steps = batches(epoch)
    next(steps)
    begin = time.perf_counter()
    num_samples = sum(len(batch) for batch in islice(steps, num_steps - 1))
    return num_samples / (time.perf_counter() - begin)


def content(batches: Batches) -> str:
    """Digest of the set of samples of an epoch, in whatever order they came."""
    seen = np.concatenate([batch[:, :2].astype(np.int64) for batch in batches(0)])
    numbers = np.sort(seen[:, 0] + VOCAB_SIZE * seen[:, 1])
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def main(arguments: argparse.Namespace) -> None:
    """Measures and prints; --write keeps the result file."""
    warnings.simplefilter("ignore")
    tokens = samples()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ours(folder, tokens)
        write_webdataset(folder, tokens)
        write_litdata(folder, tokens)
        mine, webs, lits = ours(folder), web(folder), lit(folder)
        everything = np.arange(NUM_SAMPLES)
        wanted = hashlib.sha256(everything.astype(np.int64).tobytes()).hexdigest()
        assert content(webs) == content(lits) == wanted
        epoch = np.concatenate([*islice(mine(0), NUM_STEPS + 1)])  # it is no multiple of 64
        assert len(np.unique(epoch[:NUM_SAMPLES, :2].astype(np.int64) @ [1, VOCAB_SIZE])) == (
            NUM_SAMPLES
        )
        runs, epochs = arguments.runs, count(1)
        against_web = interleave(
            "webdataset, shuffle(1000)",
            runs,
            lambda: rate(webs, next(epochs), WEBDATASET_STEPS),
            lambda: rate(mine, next(epochs), OUR_STEPS),
        )
        against_lit = interleave(
            "litdata, shuffle",
            runs,
            lambda: rate(lits, next(epochs), NUM_STEPS),
            lambda: rate(mine, next(epochs), OUR_STEPS),
        )
    lines = [
        "# Loader: token batches in random order",
        "",
        (
            f"{NUM_SAMPLES:,} samples of {LENGTH} tokens of two bytes, batches of {BATCH}; {runs} "
            "interleaved runs after a warm-up, medians."
        ),
        "",
        f"Machine: {machine('webdataset', 'litdata', 'numpy')}.",
        "",
        f"Command: `python -m tests.bench.bench_loader --runs {runs}`",
        "",
        "Targets: at least 50 times webdataset's and 5 times litdata's samples a second.",
        "",
        table([against_web, against_lit], "theirs", "samples/s"),
    ]
    report = "\n".join(lines) + "\n"
    print(report)
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"loader_2core_{time.strftime('%Y%m')}.md").write_text(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    main(parser.parse_args())
