"""Every task end to end in this process: learns its rule, writes scores and the submission."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep import tokenizer
from data_prep.config import TokenizerConfig
from pipeline.spec.context import StageContext
from pipeline.spec.scores import read_scores
from stages.xlnet.checkpoint import read_shape
from stages.xlnet.stage import ANSWER, CHOOSE, RANK, SENTENCES
from stages.xlnet.tasks import answers, choices, ranking, sentences, toys
from stages.xlnet.tasks.config import (
    AnswerConfig,
    ChooseConfig,
    RankConfig,
    SentencesConfig,
    TaskConfig,
    ToyTaskConfig,
)
from stages.xlnet.tasks.finetuning import Finetuning
from tests.contexts import stage_context
from tests.xlnet.configs import MODEL

TRAIN = {
    "steps": 80,
    "global_batch_size": 16,
    "optimizer": {"learning_rate": 1e-2},
    "log_every": 40,
    "checkpoint_every_seconds": None,
}
COMMON: dict[str, Any] = {
    "model": MODEL,
    "dropout": {"hidden": 0.0, "attention": 0.0},
    "max_len": 48,
    "train": TRAIN,
}
KINDS: Mapping[str, tuple[type[TaskConfig], Any, dict[str, Any]]] = {
    "sentences": (SentencesConfig, sentences, {"task": "sst2"}),
    "regression": (SentencesConfig, sentences, {"task": "stsb"}),
    "choose": (ChooseConfig, choices, {"max_question": 16}),
    "answer": (AnswerConfig, answers, {"max_question": 12, "doc_stride": 16, "max_answer": 6}),
    "rank": (RankConfig, ranking, {}),
}


def _toys(folder: Path, task: str, examples: int = 240) -> Path:
    config = ToyTaskConfig.model_validate({"task": task, "examples": examples})
    toys.run(stage_context(config, folder, output="files"))
    return folder / "files"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TOKENIZER of the toys' words."""
    folder = tmp_path_factory.mktemp("pieces")
    text = folder / "text"
    text.mkdir()
    for task in ("sentences", "regression", "answer", "rank"):
        for file in _toys(folder / task, task).rglob("*.*"):
            (text / f"{task}-{file.parent.name}.txt").write_text(file.read_text())
    config = TokenizerConfig(vocab_size=150)
    tokenizer.run(stage_context(config, folder, inputs={"text": text}, output="tokenizer"))
    return folder / "tokenizer"


def _context(task: str, folder: Path, pieces: Path, **changes: Any) -> StageContext[Any]:
    kind, _, own = KINDS[task]
    config = kind.model_validate(COMMON | own | changes)
    inputs: dict[str, Path | list[Path]] = {"tokenizer": pieces, "files": _toys(folder, task)}
    ctx = stage_context(config, folder, inputs=inputs, output="checkpoint")
    folders = {port: folder / port for port in ("checkpoint", "scores", "predictions")}
    for path in folders.values():
        path.mkdir(exist_ok=True)
    return replace(ctx, outputs=folders)


def _run(task: str, folder: Path, pieces: Path, **changes: Any) -> dict[str, float]:
    KINDS[task][1].run(_context(task, folder, pieces, **changes))
    assert read_shape(folder / "checkpoint").vocab_size == 150
    return read_scores(folder / "scores")


def _lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "predictions/predictions.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_sentences_learn_and_are_handed_in_as_glue_wants(tmp_path: Path, pieces: Path) -> None:
    scores = _run("sentences", tmp_path, pieces)
    assert scores["accuracy"] > 0.9
    rows = (tmp_path / "predictions/SST-2.tsv").read_text().splitlines()
    assert rows[0] == "index\tprediction"
    assert [row.split("\t")[0] for row in rows[1:]] == [str(i) for i in range(60)]
    right = np.mean([line["label"] == line["predicted"] for line in _lines(tmp_path)])
    assert right == pytest.approx(scores["accuracy"])


def test_regression_learns_a_number(tmp_path: Path, pieces: Path) -> None:
    train = TRAIN | {"steps": 120}
    scores = _run("regression", tmp_path, pieces, train=train)
    assert scores["pearson"] > 0.8
    assert scores["spearman"] > 0.8
    assert read_shape(tmp_path / "checkpoint").classes is None


def test_choices_learn_which_option_is_right(tmp_path: Path, pieces: Path) -> None:
    scores = _run("choose", tmp_path, pieces)
    assert scores["accuracy"] > 0.8  # chance: 0.25
    levels = (scores["accuracy_middle"] + scores["accuracy_high"]) / 2
    assert levels == pytest.approx(scores["accuracy"])
    text = (tmp_path / "predictions/race.jsonl").read_text()
    first = json.loads(text.splitlines()[0])
    assert first["id"].endswith(".txt")
    assert len(first["answers"]) == 2


def test_answers_are_found_and_their_absence_too(tmp_path: Path, pieces: Path) -> None:
    train = TRAIN | {"steps": 150}
    scores = _run("answer", tmp_path, pieces, train=train)
    assert scores["best_f1"] > 0.8
    assert scores["best_f1"] > scores["f1"]  # a third of the questions has no answer
    predicted = json.loads((tmp_path / "predictions/predictions.json").read_text())
    nulls = json.loads((tmp_path / "predictions/null_odds.json").read_text())
    assert predicted.keys() == nulls.keys()
    assert "" in predicted.values()
    by_key = {line["example"]: line for line in _lines(tmp_path)}
    right = np.mean([text in (by_key[key]["label"] or [""]) for key, text in predicted.items()])
    assert right == pytest.approx(scores["best_exact"], abs=0.1)


def test_ranking_prefers_documents_with_words_of_the_query(tmp_path: Path, pieces: Path) -> None:
    scores = _run("rank", tmp_path, pieces)
    assert scores["ndcg_20"] > 0.95
    rows = (tmp_path / "predictions/run.trec").read_text().splitlines()
    query, q0, document, rank, score, tag = rows[0].split()
    assert (query, q0, rank, tag) == ("q0", "Q0", "1", "xlnet")
    assert document.startswith("d0-")
    assert float(score) >= float(rows[1].split()[4])


@pytest.mark.parametrize("task", KINDS)
@torch.no_grad()
def test_held_out_scores_do_not_depend_on_ranks_or_batches(
    tmp_path: Path, pieces: Path, task: str
) -> None:
    """Each example is in one rank's share, and all ranks call the model equally often."""
    classes: dict[str, Any] = {
        "sentences": sentences.Sentences,
        "regression": sentences.Sentences,
        "choose": choices.Choices,
        "answer": answers.Answers,
        "rank": ranking.Ranking,
    }
    found = []
    for size, batch in ((1, 32), (3, 7)):
        folder = tmp_path / str(size)
        ctx = _context(task, folder, pieces, evaluation_batch_size=batch)
        inputs = {port: ctx.input(port) for port in ctx.inputs}
        method = classes[task](ctx.config, inputs, seed=1)
        sums: dict[str, np.ndarray] = {}
        for rank in range(size):
            place = replace(ctx.world, rank=rank, size=size)
            scores = Finetuning(method, ctx.config, place=place).evaluate(method.model.eval())
            for name, parts in scores.items():
                sums[name] = sums.get(name, np.zeros(2)) + [float(part) for part in parts]
        found.append(sums)
    assert found[0].keys() == found[1].keys()
    for name, pair in found[0].items():
        assert found[1][name] == pytest.approx(pair, rel=1e-4), name


@pytest.mark.parametrize("spec", [SENTENCES, CHOOSE, ANSWER, RANK], ids=lambda spec: spec.name)
def test_task_asks_for_files_and_checkpoint_only_where_the_configuration_gives_none(
    spec: Any,
) -> None:
    train = {"train": TRAIN}
    task = {"task": "cola"} if spec is SENTENCES else {}
    inputs, _ = spec.ports(spec.config.model_validate(train | task))
    assert inputs.keys() == {"tokenizer", "checkpoint", "files"}
    given = {"train_source": "a", "evaluate_source": "b", "model": {"preset": "tiny"}}
    inputs, _ = spec.ports(spec.config.model_validate(train | task | given))
    assert inputs.keys() == {"tokenizer"}
