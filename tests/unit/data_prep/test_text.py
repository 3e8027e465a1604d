"""Text to shards: splits, labels, and that workers change nothing."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep import text
from data_prep.config import TextConfig
from pipeline.errors import DataError, Preempted
from pipeline.shards import TokenShards, verify
from pipeline.shards.tokenizer import Tokenizer
from pipeline.spec.context import World
from tests.contexts import stage_context


def _shards(folder: Path, tokenizer: Path, text_input: Path | None = None, **with_: Any) -> Path:
    inputs: dict[str, Path | list[Path]] = {"tokenizer": tokenizer}
    if text_input is not None:
        inputs["text"] = text_input
    context = stage_context(TextConfig(**with_), folder, inputs=inputs, output="shards")
    text.run(context)
    verify(folder / "shards")
    return folder / "shards"


def _decoded(shards: Path, folder: Path, split: str = "train") -> list[str]:
    tokenizer = Tokenizer(folder)
    reader = TokenShards(shards, split)
    return [tokenizer.decode(reader.document(i)) for i in range(reader.num_documents)]


def test_documents_come_back_in_the_order_of_their_names(
    tmp_path: Path, corpus: Path, trained: Path
) -> None:
    shards = _shards(tmp_path, trained, corpus)
    files = sorted(corpus.rglob("*.txt"))
    assert _decoded(shards, trained) == [" ".join(f.read_text().split()) for f in files]


def test_unlabelled_documents_end_with_eod_as_a_sentence_of_its_own(
    tmp_path: Path, trained: Path
) -> None:
    (tmp_path / "a.txt").write_text("Ka lobe. Ka mane.")
    (tmp_path / "b.txt").write_text("Los lobes.")
    shards = TokenShards(_shards(tmp_path, trained, source=str(tmp_path / "*.txt")))
    eod = Tokenizer(trained).special("eod")
    ends = shards.document_ends.tolist()
    assert [int(shards.tokens(end - 1, end)[0]) for end in ends] == [eod, eod]
    first = [end for end in shards.sentence_ends.tolist() if end <= ends[0]]
    assert len(first) == 3  # two sentences and the <eod>
    assert first[1:] == [ends[0] - 1, ends[0]]


@pytest.mark.parametrize("num_workers", [2, 5])
def test_any_number_of_workers_writes_the_same_bytes(
    tmp_path: Path, corpus: Path, trained: Path, num_workers: int
) -> None:
    config = TextConfig(unit_bytes=2000, validation_fraction=0.2)
    digests = []
    for size in (1, num_workers):
        folder = tmp_path / str(size)
        for rank in range(size):
            text.run(
                stage_context(
                    config,
                    folder,
                    inputs={"tokenizer": trained, "text": corpus},
                    output="shards",
                    world=World(rank=rank, size=size),
                )
            )
        files = sorted((folder / "shards").iterdir())
        digests.append([(f.name, hashlib.sha256(f.read_bytes()).digest()) for f in files])
    assert digests[0] == digests[1]
    assert len(digests[0]) > 10


def test_validation_split_takes_its_share_and_no_document_is_in_both(
    tmp_path: Path, corpus: Path, trained: Path
) -> None:
    shards = _shards(tmp_path, trained, corpus, validation_fraction=0.3)
    train, validation = _decoded(shards, trained), _decoded(shards, trained, "validation")
    assert len(train) + len(validation) == 60
    assert 8 <= len(validation) <= 28
    assert not set(train) & set(validation)


@pytest.mark.parametrize("source", ["pos", "pos/*.txt", "pos/a.txt"])
def test_folder_label_never_comes_from_what_lies_above_the_source(
    tmp_path: Path, trained: Path, source: str
) -> None:
    """The key knows names relative to the source: its own place must change nothing."""
    (tmp_path / "pos").mkdir()
    (tmp_path / "pos/a.txt").write_text("Ka lobe.")
    with pytest.raises(DataError, match=r"pos/a\.txt: lies in no folder of its source"):
        _shards(tmp_path, trained, source=str(tmp_path / source), label="folder")


def test_folder_labels_are_numbered_in_the_order_of_their_names(
    tmp_path: Path, corpus: Path, trained: Path
) -> None:
    shards = _shards(
        tmp_path,
        trained,
        source=str(corpus),
        test_source=str(corpus / "topic[12]/*.txt"),
        label="folder",
    )
    assert TokenShards(shards).class_names == ("topic0", "topic1", "topic2")
    assert TokenShards(shards).labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert TokenShards(shards, "test").labels.tolist() == [1] * 20 + [2] * 20


def test_column_labels_follow_the_configured_classes(tmp_path: Path, trained: Path) -> None:
    source = tmp_path / "reviews.jsonl"
    records = [{"review": "Ka lobe.", "stars": 5}, {"review": "", "stars": 1}]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    shards = _shards(
        tmp_path,
        trained,
        source=str(source),
        text_column="review",
        label="column",
        label_column="stars",
        classes=("1", "5"),
    )
    reader = TokenShards(shards)
    assert reader.labels.tolist() == [1, 0]
    assert len(reader.document(1)) == 0


def test_unknown_label_names_the_file_and_the_classes(
    tmp_path: Path, corpus: Path, trained: Path
) -> None:
    with pytest.raises(DataError, match=r"topic2/.*\.txt: label 'topic2' is none of .* topic0"):
        _shards(tmp_path, trained, corpus, label="folder", classes=("topic0", "topic1"))


def test_max_classes_keeps_the_largest(tmp_path: Path, trained: Path) -> None:
    for name, count in (("a", 1), ("b", 3), ("c", 2)):
        for i in range(count):
            path = tmp_path / "in" / name / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"Ka lobe {i}.")
    shards = _shards(tmp_path, trained, source=str(tmp_path / "in"), label="folder", max_classes=2)
    assert TokenShards(shards).class_names == ("b", "c")
    assert TokenShards(shards).labels.tolist() == [0, 0, 0, 1, 1]


def test_label_fraction_leaves_the_other_splits_alone(
    tmp_path: Path, corpus: Path, trained: Path
) -> None:
    shards = _shards(
        tmp_path,
        trained,
        source=str(corpus),
        test_source=str(corpus),
        label="folder",
        label_fraction=0.3,
    )
    assert 6 <= TokenShards(shards).num_documents <= 32
    assert TokenShards(shards, "test").num_documents == 60


def test_standard_library_gives_labelled_prose(tmp_path: Path, trained: Path) -> None:
    shards = _shards(
        tmp_path, trained, format="stdlib", label="folder", max_classes=5, min_characters=40
    )
    reader = TokenShards(shards)
    assert len(reader.class_names) == 5
    assert "asyncio" in reader.class_names
    assert reader.num_documents > 500


def test_long_document_stays_one_document(tmp_path: Path, trained: Path) -> None:
    source = tmp_path / "long.txt"
    source.write_text("Ka lobe mane. " * 200_000)  # 2.8 MB: three pieces
    shards = TokenShards(_shards(tmp_path, trained, source=str(source)))
    assert shards.num_documents == 1
    short = tmp_path / "short"
    (short / "in").mkdir(parents=True)
    (short / "in/a.txt").write_text("Ka lobe mane.")
    one = TokenShards(_shards(short, trained, source=str(short / "in"))).num_tokens - 1
    assert shards.num_tokens == 200_000 * one + 1
    assert len(shards.sentence_ends) == 200_001


@pytest.mark.parametrize("content", ["", " \n\n "])
def test_corpus_without_text_is_refused(tmp_path: Path, trained: Path, content: str) -> None:
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(DataError, match=r"empty\.txt: no document .* corpus is empty"):
        _shards(tmp_path, trained, source=str(tmp_path / "empty.txt"))
    assert list((tmp_path / "shards").iterdir()) == []


def test_stop_request_leaves_no_file(tmp_path: Path, corpus: Path, trained: Path) -> None:
    inputs: dict[str, Path | list[Path]] = {"tokenizer": trained, "text": corpus}
    context = stage_context(
        TextConfig(), tmp_path, inputs=inputs, output="shards", should_stop=lambda: True
    )
    with pytest.raises(Preempted):
        text.run(context)
    assert list((tmp_path / "shards").iterdir()) == []
