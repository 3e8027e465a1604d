"""Text to shards beside the bare encoder, two workers beside one, and the peak of memory.

    python -m tests.bench.bench_text_to_shards FOLDER_OF_TXT [--runs 10] [--write]

The baseline is one `SentencePieceProcessor.encode` of all documents, which are normalised and in
memory; ours reads the same documents from a file (or one file each), normalises, encodes, finds
sentence ends and writes shards with digests. Every process is bound to as many cores as it has
threads. Both are checked to give the same ids before they are timed.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import sentencepiece

from data_prep import text, tokenizer
from data_prep.config import Normalisation, TextConfig, TokenizerConfig
from data_prep.normalise import Normaliser
from pipeline.shards import TokenShards
from pipeline.shards.tokenizer import MODEL_FILE
from pipeline.spec.context import World
from tests.bench.ratios import RESULTS, Ratio, interleave, machine, table
from tests.contexts import stage_context

VOCAB_SIZE = 8000
MEMORY_TARGET_MB = 600


def shards(
    work: Path, config: TextConfig, *, threads: int, world: World | None = None, name: str = "ours"
) -> Path:
    """Runs the stage in this process; returns the artifact."""
    context = stage_context(
        config, work, inputs={"tokenizer": work / "tokenizer"}, output=name, world=world
    )
    text.run(replace(context, threads=threads, outputs={"shards": work / name}))
    return work / name


def worker(work: Path, source: Path, what: str, rank: int, size: int) -> None:
    """One of `size` processes, on a core of its own; prints its seconds and peak memory."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    if what == "bare":
        documents = source.read_text().split("\n\n")[rank::size]
        model = (work / "tokenizer" / MODEL_FILE).read_bytes()
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        begin = time.perf_counter()
        processor.encode(documents, return_type=int, num_threads=1)
    else:
        config = TextConfig(source=str(source), document="blank_line")
        begin = time.perf_counter()
        shards(work, config, threads=1, world=World(rank=rank, size=size), name=f"by-{size}")
    seconds = time.perf_counter() - begin
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def run_workers(work: Path, source: Path, what: str, size: int) -> tuple[float, float]:
    """(seconds of the slowest, MB of the largest) of `size` processes that share the corpus."""
    shutil.rmtree(work / f"by-{size}", ignore_errors=True)
    command = [sys.executable, "-m", "tests.bench.bench_text_to_shards", "--worker"]
    children = [
        subprocess.Popen(
            [*command, str(work), str(source), what, str(rank), str(size)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    answers = [json.loads(child.communicate()[0]) for child in children]
    return max(seconds for seconds, _ in answers), max(peak for _, peak in answers)


def encode_ratios(work: Path, folder: Path, documents: Sequence[str], runs: int) -> list[Ratio]:
    """Our rate over the bare encoder's, MB of text a second."""
    model = (work / "tokenizer" / MODEL_FILE).read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    megabytes = sum(len(document.encode()) for document in documents) / 1e6
    cores = sorted(os.sched_getaffinity(0))
    inputs = {
        "one file, blank lines between documents": TextConfig(
            source=str(work / "corpus.txt"), document="blank_line"
        ),
        f"{len(documents):,} files": TextConfig(source=f"{folder}/*.txt"),
    }
    ratios = []
    for threads in (1, 2):
        os.sched_setaffinity(0, set(cores[:threads]))

        def bare(threads: int = threads) -> float:
            begin = time.perf_counter()
            processor.encode(list(documents), return_type=int, num_threads=threads)
            return megabytes / (time.perf_counter() - begin)

        for name, config in inputs.items():

            def ours(config: TextConfig = config, threads: int = threads) -> float:
                shutil.rmtree(work / "ours", ignore_errors=True)
                begin = time.perf_counter()
                shards(work, config, threads=threads)
                return megabytes / (time.perf_counter() - begin)

            ratios.append(interleave(f"{name}, {threads} threads", runs, bare, ours))
    os.sched_setaffinity(0, set(cores))
    return ratios


def check_equal(work: Path, documents: Sequence[str]) -> None:
    """Our ids are the bare encoder's, with <eod> after each document."""
    model = (work / "tokenizer" / MODEL_FILE).read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    config = TextConfig(source=str(work / "corpus.txt"), document="blank_line")
    reader = TokenShards(shards(work, config, threads=2))
    expected = processor.encode(list(documents), return_type="numpy")
    for i in range(0, len(expected), 97):
        assert np.array_equal(reader.document(i)[:-1], expected[i]), i
    assert reader.num_tokens == sum(map(len, expected)) + len(documents)


def worker_ratios(work: Path, runs: int) -> list[Ratio]:
    """Rates of two processes over one: ours, and what the bare encoder makes of the two cores."""
    source = work / "corpus.txt"
    return [
        interleave(
            case,
            runs,
            lambda what=what: 1 / run_workers(work, source, what, 1)[0],  # type: ignore[misc]
            lambda what=what: 1 / run_workers(work, source, what, 2)[0],  # type: ignore[misc]
        )
        for case, what in (
            ("text to shards", "ours"),
            ("the bare encoder: what the machine allows", "bare"),
        )
    ]


def memory_of(work: Path, times: int) -> tuple[float, float]:
    """(MB of text, peak MB of the worker) for the corpus repeated `times` times in one file."""
    source = work / "repeated.txt"
    with source.open("wb") as file:
        for _ in range(times):
            file.write((work / "corpus.txt").read_bytes() + b"\n\n")
    megabytes = source.stat().st_size / 1e6
    _, peak = run_workers(work, source, "ours", 1)
    source.unlink()
    return megabytes, peak


def main(arguments: argparse.Namespace) -> None:
    """Measures and prints; --write keeps the result file."""
    folder = Path(arguments.folder)
    normalise = Normaliser(Normalisation())
    documents = [normalise(path.read_text()) for path in sorted(folder.glob("*.txt"))]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "corpus.txt").write_text("\n\n".join(documents) + "\n")
        config = TokenizerConfig(
            source=str(work / "corpus.txt"), document="blank_line", vocab_size=VOCAB_SIZE,
            max_sentences=100_000,
        )  # fmt: skip
        tokenizer.run(stage_context(config, work, output="tokenizer"))
        check_equal(work, documents)
        ratios = encode_ratios(work, folder, documents, arguments.runs)
        workers = worker_ratios(work, arguments.runs)
        small, large = memory_of(work, 1), memory_of(work, 8)
    size = sum(len(document.encode()) for document in documents) / 1e6
    lines = [
        "# Text to shards",
        "",
        (
            f"{size:.0f} MB in {len(documents):,} documents, {VOCAB_SIZE} pieces, default config; "
            f"{arguments.runs} interleaved runs after a warm-up, medians."
        ),
        "",
        f"Machine: {machine('sentencepiece', 'numpy')}.",
        "",
        (
            f"Command: `python -m tests.bench.bench_text_to_shards {folder.name} "
            f"--runs {arguments.runs}`"
        ),
        "",
        "Target: at least 0.8 of the bare batch encoder on the same text and cores.",
        "",
        table(ratios, "bare encode", "MB/s"),
        "",
        "Target: 1.8 times with two workers, a core each.",
        "",
        table(workers, "one process", "runs/s").replace("| ours,", "| two processes,"),
        "",
        f"Target: peak memory under {MEMORY_TARGET_MB} MB for any corpus.",
        "",
        "| corpus, one file, MB | peak memory of the worker, MB |",
        "| --- | --- |",
        *(f"| {text_mb:.0f} | {peak:.0f} |" for text_mb, peak in (small, large)),
    ]
    report = "\n".join(lines) + "\n"
    print(report)
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"text_to_shards_2core_{time.strftime('%Y%m')}.md").write_text(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", nargs=5)
    parsed = parser.parse_args()
    if parsed.worker:
        base, corpus, kind, number, total = parsed.worker
        worker(Path(base), Path(corpus), kind, int(number), int(total))
    else:
        main(parsed)
