"""The stage kind `xlnet.rank`: documents of a query in order, by kernel pooling over XLNet."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from pipeline.errors import ConfigError, DataError
from pipeline.spec.context import StageContext
from pipeline.training.method import Batch, Loss
from pipeline.training.seeding import torch_generator
from stages.xlnet.attention import surroundings
from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.documents import Ids
from stages.xlnet.model import Backbone, new_model
from stages.xlnet.permutation import padding_keys
from stages.xlnet.positions import position_tables
from stages.xlnet.tasks.config import RankConfig
from stages.xlnet.tasks.files import read_tsv
from stages.xlnet.tasks.finetuning import Conclusion, Found, finetune, jsonl, shape_of, start_from
from stages.xlnet.tasks.inputs import Encoder
from stages.xlnet.tasks.metrics import err, ndcg

logger = logging.getLogger(__name__)

_COLUMNS = ("query_id", "document_id", "grade", "query", "document")
_MEANS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
_WIDTHS = (1e-3, *(0.1,) * 10)
_SMALLEST = 1e-10
_SCALE = 0.01
"""On the logarithms, so that tanh does not begin saturated; as in the released K-NRM."""
_DEPTH = 20


class KernelRanker(nn.Module):
    """Scores a document by how many of its words are how similar to each word of the query.

    score = tanh(w . phi + b),  phi_k = sum_i log sum_j exp(-(cos(q_i, d_j) - mu_k)^2 / 2 sigma_k^2)

    The features are a frozen XLNet's: its word embeddings, or what its first layers make of them.

    Source: Xiong et al. 2017, arXiv:1706.06613, which Yang et al. 2019 put on XLNet's embeddings
    for ClueWeb09-B.
    """

    def __init__(
        self, config: ModelConfig, vocab_size: int, dropout: DropoutConfig, *, layer: int
    ) -> None:
        super().__init__()
        self.backbone = Backbone(config, vocab_size, dropout)
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        self.kernels = nn.Linear(len(_MEANS), 1)
        self._layer = layer

    @override
    def forward(self, query: Tensor, document: Tensor, pad: Tensor) -> Tensor:
        """Scores of pairs.

        Args:
            query: (pairs, query length) int64 ids, padded.
            document: (pairs, document length) int64 ids, padded.
            pad: () the id of padding.

        Returns:
            (pairs,) in (-1, 1).
        """
        asked, said = self._features(query, pad), self._features(document, pad)
        cosine = asked @ said.transpose(1, 2)  # (pairs, query, document)
        means = cosine.new_tensor(_MEANS)[:, None, None, None]
        widths = cosine.new_tensor(_WIDTHS)[:, None, None, None]
        near = torch.exp(-((cosine - means) ** 2) / (2 * widths**2))
        near = near * (document != pad)[None, :, None, :]
        counts = near.sum(dim=-1).clamp(min=_SMALLEST).log() * _SCALE
        phi = (counts * (query != pad)[None]).sum(dim=-1)  # (kernels, pairs)
        score: Tensor = torch.tanh(self.kernels(phi.T)).squeeze(-1)
        return score

    @torch.no_grad()
    def _features(self, tokens: Tensor, pad: Tensor) -> Tensor:
        """(pairs, length, d_model) of length 1, float32."""
        rows: Tensor = self.backbone.embed(tokens)
        if self._layer:
            length = tokens.shape[1]
            table = position_tables(length, length, rows.shape[2], bidirectional=False, like=rows)
            segments = torch.zeros_like(tokens)
            keys = padding_keys(tokens == pad)
            around = surroundings(table, segments, keys, num_memory=0, targets=None)
            for layer in self.backbone.layers[: self._layer]:
                rows = layer(rows, rows, around)
        return functional.normalize(rows.float(), dim=-1)


@dataclass
class Query:
    """A query and its documents.

    Attributes:
        key, text: its id and words.
        documents: ids.
        texts: words of each document.
        grades: relevance of each; 0 not relevant, below 0 spam.
    """

    key: str
    text: str
    documents: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    grades: list[float] = field(default_factory=list)


def read_pairs(source: str, *, labelled: bool = True) -> list[Query]:
    """Queries of files with the columns query_id, document_id, grade, query, document.

    Raises:
        DataError: a column is missing, a grade no number, a document twice; names file and line.
    """
    queries: dict[str, Query] = {}
    file = ""
    for record in read_tsv(source):
        if record.where.rpartition(":")[0] != file:
            file = record.where.rpartition(":")[0]
            if tuple(record.fields[: len(_COLUMNS)]) != _COLUMNS:
                msg = f"{record.where}: columns are {', '.join(record.fields)}; need {_COLUMNS}"
                raise DataError(msg)
            continue
        key, document, grade, text, words = (
            record.column(place, name) for place, name in enumerate(_COLUMNS)
        )
        query = queries.setdefault(key, Query(key, text))
        if document in query.documents:
            msg = f"{record.where}: document {document} stands twice under query {key}"
            raise DataError(msg)
        query.documents.append(document)
        query.texts.append(words)
        query.grades.append(record.number(grade, "grade") if labelled else 0.0)
    if not queries:
        msg = f"{source}: no pairs in it"
        raise DataError(msg)
    return list(queries.values())


@dataclass(frozen=True)
class _Encoded:
    query: Ids
    documents: Sequence[Ids]


class Ranking:
    """Hinge loss over pairs of a better and a worse document of the same query.

    Only the kernels' weights learn. A held-out example is a query, its inputs the documents.
    """

    def __init__(self, config: RankConfig, inputs: Mapping[str, Path], *, seed: int) -> None:
        """Reads the files and builds the model; arguments as `Sentences`."""
        train_source, scored_source = config.sources(inputs)
        encoder = Encoder(inputs["tokenizer"])
        self._vocabulary = encoder.vocabulary
        self._config = config
        train = read_pairs(train_source)
        self._scored = read_pairs(scored_source)
        self._unlabelled: list[Query] = []
        if config.predict_source is not None:
            self._unlabelled = read_pairs(config.predict_source, labelled=False)
        self._train = self._encode(encoder, train)
        self._held_out = self._encode(encoder, [*self._scored, *self._unlabelled])
        self._pairs = [
            (number, better, worse)
            for number, query in enumerate(train)
            for better, high in enumerate(query.grades)
            for worse, low in enumerate(query.grades)
            if high > low
        ]
        if not self._pairs:
            msg = f"{train_source}: no query has documents of two grades, nothing to learn"
            raise DataError(msg)
        self.num_training = len(self._pairs)
        self.num_inputs = [len(query.documents) for query in self._held_out]
        self.shape = shape_of(config.model, inputs, self._vocabulary)
        if config.layer > self.shape.model.num_layers:
            msg = f"layer={config.layer}, but the model has {self.shape.model.num_layers}"
            raise ConfigError(msg)
        self.model: KernelRanker = new_model(
            lambda: KernelRanker(
                self.shape.model, self.shape.vocab_size, config.dropout, layer=config.layer
            ),
            torch_generator(seed, "weights"),
            self.shape.model,
        )
        start_from(self.model, self.shape, inputs)

    def training_batch(self, epochs: Ids, examples: Ids) -> dict[str, Tensor]:
        """Pairs: better documents, then worse ones."""
        del epochs
        pairs = [self._pairs[example] for example in examples.tolist()]
        better = [(q, b) for q, b, _ in pairs]
        return self._pad(self._train, better + [(q, w) for q, _, w in pairs])

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """max(0, 1 - better + worse), and how many pairs stand in the right order."""
        better, worse = model(batch["query"], batch["document"], batch["pad"][0]).float().chunk(2)
        total = (1 - better + worse).clamp(min=0).sum()
        return Loss(total, {"pairs_right": (better > worse).sum()})

    def held_out_batch(self, inputs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Query and document of each input."""
        return self._pad(self._held_out, inputs)

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Scores."""
        scores = model(batch["query"], batch["document"], batch["pad"][0])
        return list(scores.float().cpu().tolist())

    def sums(self, found: Found) -> Mapping[str, tuple[float, float]]:
        """NDCG and ERR, means over queries."""
        mine = [query for query in found if query < len(self._scored)]
        return {
            name: (sum(measure(found[q], self._scored[q].grades) for q in mine), float(len(mine)))
            for name, measure in ((f"ndcg_{_DEPTH}", ndcg), (f"err_{_DEPTH}", err))
        }

    def conclude(self, found: Found) -> Conclusion:
        """The means, and the ranking as TREC takes it."""
        scores = {name: total / count for name, (total, count) in self.sums(found).items()}
        lines = [
            {"example": f"{query.key}/{d}", "label": grade, "predicted": round(score, 6)}
            for number, query in enumerate(self._scored)
            for d, grade, score in zip(query.documents, query.grades, found[number], strict=True)
        ]
        first = len(self._scored) if self._unlabelled else 0
        run_lines = []
        for number, query in enumerate(self._unlabelled or self._scored, first):
            order = np.argsort(-np.array(found[number]), kind="stable")
            run_lines += [
                f"{query.key} Q0 {query.documents[d]} {rank} {found[number][d]:.6f} xlnet\n"
                for rank, d in enumerate(order, 1)
            ]
        files = {"predictions.jsonl": jsonl(lines), "run.trec": "".join(run_lines)}
        return Conclusion(scores, files)

    def _encode(self, encoder: Encoder, queries: Sequence[Query]) -> list[_Encoded]:
        asked = encoder.encode([query.text for query in queries])
        most, encoded, cut = self._config.max_document, [], 0
        for query, ids in zip(queries, asked, strict=True):
            documents = encoder.encode(query.texts)
            cut += sum(len(document) > most for document in documents)
            encoded.append(_Encoded(ids, [document[:most] for document in documents]))
        if cut:
            logger.warning("%d documents are over %d pieces; the rest is not read", cut, most)
        return encoded

    def _pad(
        self, queries: Sequence[_Encoded], pairs: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        pad = self._vocabulary.pad
        asked = [queries[query].query for query, _ in pairs]
        documents = [queries[query].documents[document] for query, document in pairs]
        return {
            "query": torch.from_numpy(_padded(asked, pad)),
            "document": torch.from_numpy(_padded(documents, pad)),
            "pad": torch.tensor([pad]),
        }


def _padded(texts: Sequence[Ids], pad: int) -> Ids:
    longest = max(1, *(len(text) for text in texts))
    out = np.full((len(texts), longest), pad, np.int64)
    for row, text in enumerate(texts):
        out[row, : len(text)] = text
    return out


def run(ctx: StageContext[RankConfig]) -> None:
    """Trains the kernels, then writes checkpoint, scores, predictions.jsonl and run.trec.

    Raises: as `sentences.run`.
    """
    inputs = {port: ctx.input(port) for port in ctx.inputs}
    finetune(ctx, Ranking(ctx.config, inputs, seed=ctx.seed))
