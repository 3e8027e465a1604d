"""What is wrong in a task's file is said with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DataError
from stages.xlnet.tasks.choices import read_race
from stages.xlnet.tasks.ranking import read_pairs
from stages.xlnet.tasks.sentence_files import LAYOUTS, read_examples
from stages.xlnet.tasks.squad import read_squad


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("task", "text", "texts", "label"),
    [
        ("cola", "gj04\t1\t\tThe sailors rode.\n", ("The sailors rode.",), 1),
        (
            "sst2",
            "sentence\tlabel\nit 's \"fine\tnot\t\t\n".replace("\tnot\t\t", "\t0"),
            ("it 's \"fine",),
            0,
        ),
        (
            "mrpc",
            "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t70\t71\tOne.\tTwo.\n",
            ("One.", "Two."),
            1,
        ),
        ("stsb", "index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.800\n", ("a", "b"), 3.8),
        (
            "mnli",
            "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tneutral\n",
            ("a", "b"),
            2,
        ),
        ("qnli", "index\tquestion\tsentence\tlabel\n0\tq\ts\tnot_entailment\n", ("q", "s"), 1),
        (
            "ag",
            '"3","Wall St.","He said ""no"",\ntwice"\n',
            ("Wall St.", 'He said "no",\ntwice'),
            2,
        ),
        ("yelp5", '"5","Great, really."\n', ("Great, really.",), 4),
    ],
)
def test_formats_are_read_as_they_are_given_out(
    tmp_path: Path, task: str, text: str, texts: tuple[str, ...], label: float
) -> None:
    (example,) = read_examples(_file(tmp_path, "f", text), LAYOUTS[task])
    assert tuple(example.texts) == texts
    assert example.label == label


def test_test_file_of_cola_has_a_header_and_no_labels(tmp_path: Path) -> None:
    source = _file(tmp_path, "test.tsv", "index\tsentence\n0\tBill whistled.\n")
    (example,) = read_examples(source, LAYOUTS["cola"], labelled=False)
    assert (tuple(example.texts), example.label) == (("Bill whistled.",), None)


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("sst2", "sentence\tlabel\na\t1\nb\t2\n", r"f:3: unknown label '2'; labels: 0, 1"),
        ("sst2", "sentence\tclass\na\t1\n", r"f:1: no column 'label'; columns: sentence, class"),
        ("sst2", "sentence\tlabel\njust text\n", r"f:2: no label: column 2 of 1"),
        ("sst2", "sentence\tlabel\n", r"f: no examples in it"),
        ("stsb", "sentence1\tsentence2\tscore\na\tb\tnan\n", r"f:2: score is 'nan', not a number"),
        ("ag", '"1","a","b"\n"2","c"\n', r"f:2: no text: column 3 of 2"),
        ("ag", '"1","a\nb","c"\n"9","c","d"\n', r"f:3: unknown label '9'"),
        ("ag", '"1","a" b,"c"\n', r"f:1: no CSV"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, task: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_examples(_file(tmp_path, "f", text), LAYOUTS[task])


def test_file_that_is_no_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"sentence\tlabel\ngood\t1\nb\xe4d\t0\n")
    with pytest.raises(DataError, match=r"f:3: not UTF-8"):
        read_examples(str(tmp_path / "f"), LAYOUTS["sst2"])


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/nothing.tsv: no such file"):
        read_examples(str(tmp_path / "nothing.tsv"), LAYOUTS["sst2"])


def _race(**changes: Any) -> str:
    content = {
        "id": "high1.txt",
        "article": "A text.",
        "questions": ["He is _ .", "Why?"],
        "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]],
        "answers": ["B", "D"],
    }
    return json.dumps(content | changes)


def test_race_puts_the_option_in_the_gap_or_behind_the_question(tmp_path: Path) -> None:
    """And no question's text holds an option of another, nor the passage that of a choice."""
    first, second = read_race(_file(tmp_path, "high1.txt", _race()))
    assert first.queries[1] == "He is b ."
    assert second.queries[3] == "Why? h"
    assert (first.article, second.article) == ("A text.", "A text.")
    assert (first.answer, second.answer) == (1, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_race(answers=["B", "E"]), r"f: question 2: answer is 'E', not one of A, B, C, D"),
        (_race(answers=["B"]), r"f: 2 questions, 2 options, 1 answers"),
        (_race(options=[["a"], ["b"]]), r"f: question 1: needs a text and 4 options"),
        ("[1]", r"f:1: not an object with article"),
        ('{\n"article": }', r"f:2: no JSON"),
    ],
)
def test_bad_race_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_race(_file(tmp_path, "f", text))


def _squad(answer: str = "blue", start: int = 8, **changes: Any) -> str:
    entry = {"id": "q1", "question": "What?", "answers": [{"text": answer, "answer_start": start}]}
    paragraph = {"context": "Sky was blue.", "qas": [entry | changes]}
    return json.dumps({"data": [{"paragraphs": [paragraph]}]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_squad(start=7), r"f: question q1: at 7 stands ' blu', not 'blue'"),
        (_squad(answers=[]), r"f: question q1: no answer, and is_impossible is not true"),
        ('{"data": [{"paragraphs": [{"context": "a"}]}]}', r"f: paragraph 1: not as SQuAD"),
        ("[]", r"f:1: no articles with paragraphs"),
        ('{"data": []}', r"f: no questions in it"),
    ],
)
def test_bad_squad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_squad(_file(tmp_path, "f", text))


_PAIRS = "query_id\tdocument_id\tgrade\tquery\tdocument\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n", r"f:1: columns are a, b; need"),
        (f"{_PAIRS}q\td\tgood\tx\ty\n", r"f:2: grade is 'good', not a number"),
        (f"{_PAIRS}q\td\t1\tx\ty\nq\td\t0\tx\tz\n", r"f:3: document d stands twice under query q"),
        (_PAIRS, r"f: no pairs in it"),
    ],
)
def test_bad_pairs_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pairs(_file(tmp_path, "f", text))
