"""How each classification or regression task lays out its files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import DataError
from stages.xlnet.tasks.files import Record, read_csv, read_tsv


@dataclass(frozen=True)
class Layout:
    """Columns, classes and measures of a task.

    Attributes:
        texts: names of the one or two columns of text; places where the files have no header.
        label: that of the label.
        classes: as the labels are spelled; empty for a number.
        metrics: what is reported, the first one first.
        submission: name of the file that is handed in.
        tabs: tabs and no quoting, or commas and quotes.
        header: whether the first line names the columns.
        unlabelled_texts: where the texts stand in files without labels, if elsewhere.
    """

    texts: Sequence[str | int]
    label: str | int
    classes: Sequence[str]
    metrics: Sequence[str]
    submission: str
    tabs: bool = True
    header: bool = True
    unlabelled_texts: Sequence[str | int] | None = None


@dataclass(frozen=True)
class Example:
    """One text or pair.

    Attributes:
        where: "FILE:LINE".
        texts: one or two.
        label: class number, or the number itself; None where the file has none.
    """

    where: str
    texts: Sequence[str]
    label: float | None


_YES_NO = ("0", "1")
_ENTAILS = ("entailment", "not_entailment")
_PAIR = ("sentence1", "sentence2")


def _csv(classes: Sequence[str], columns: Sequence[int], name: str) -> Layout:
    return Layout(columns, 0, classes, ("accuracy",), f"{name}.tsv", tabs=False, header=False)


LAYOUTS: Mapping[str, Layout] = {
    "cola": Layout(
        (3,),
        1,
        _YES_NO,
        ("mcc", "accuracy"),
        "CoLA.tsv",
        header=False,
        unlabelled_texts=("sentence",),
    ),
    "sst2": Layout(("sentence",), "label", _YES_NO, ("accuracy",), "SST-2.tsv"),
    "mrpc": Layout(("#1 String", "#2 String"), "Quality", _YES_NO, ("f1", "accuracy"), "MRPC.tsv"),
    "stsb": Layout(_PAIR, "score", (), ("pearson", "spearman"), "STS-B.tsv"),
    "qqp": Layout(
        ("question1", "question2"), "is_duplicate", _YES_NO, ("f1", "accuracy"), "QQP.tsv"
    ),
    "mnli": Layout(
        _PAIR,
        "gold_label",
        ("contradiction", "entailment", "neutral"),
        ("accuracy",),
        "MNLI.tsv",
    ),
    "qnli": Layout(("question", "sentence"), "label", _ENTAILS, ("accuracy",), "QNLI.tsv"),
    "rte": Layout(_PAIR, "label", _ENTAILS, ("accuracy",), "RTE.tsv"),
    "wnli": Layout(_PAIR, "label", _YES_NO, ("accuracy",), "WNLI.tsv"),
    "ag": _csv(("1", "2", "3", "4"), (1, 2), "ag"),
    "yelp2": _csv(("1", "2"), (1,), "yelp2"),
    "yelp5": _csv(("1", "2", "3", "4", "5"), (1,), "yelp5"),
    "dbpedia": _csv(tuple(str(i) for i in range(1, 15)), (1, 2), "dbpedia"),
    "amazon2": _csv(("1", "2"), (1, 2), "amazon2"),
    "amazon5": _csv(("1", "2", "3", "4", "5"), (1, 2), "amazon5"),
}


def read_examples(source: str, layout: Layout, *, labelled: bool = True) -> list[Example]:
    """The examples of a task's file.

    Raises:
        DataError: a column or label is missing or unknown; names file and line.
    """
    records = read_tsv(source) if layout.tabs else read_csv(source)
    texts = layout.texts
    has_header = layout.header
    if not labelled and layout.unlabelled_texts is not None:
        texts, has_header = layout.unlabelled_texts, True
    rows = _with_header(records, texts, layout.label, labelled=labelled)
    if not has_header:
        rows = _by_place(records, texts, layout.label, labelled=labelled)
    examples = [
        Example(record.where, found, _label(record, label, layout)) for record, found, label in rows
    ]
    if not examples:
        msg = f"{source}: no examples in it"
        raise DataError(msg)
    return examples


_Rows = Iterator[tuple[Record, list[str], str | None]]


def _by_place(
    records: Iterator[Record], texts: Sequence[str | int], label: str | int, *, labelled: bool
) -> _Rows:
    for record in records:
        found = [record.column(int(place), "text") for place in texts]
        yield record, found, record.column(int(label), "label") if labelled else None


def _with_header(
    records: Iterator[Record], texts: Sequence[str | int], label: str | int, *, labelled: bool
) -> _Rows:
    places: dict[str, int] = {}
    file = ""
    for record in records:
        if record.where.rpartition(":")[0] != file:  # each file of a folder has its own
            file = record.where.rpartition(":")[0]
            places = {name: place for place, name in enumerate(record.fields)}
            wanted = [str(text) for text in texts] + ([str(label)] if labelled else [])
            absent = [name for name in wanted if name not in places]
            if absent:
                msg = f"{record.where}: no column {absent[0]!r}; columns: {', '.join(places)}"
                raise DataError(msg)
            continue
        found = [record.column(places[str(text)], str(text)) for text in texts]
        name = record.column(places[str(label)], str(label)) if labelled else None
        yield record, found, name


def _label(record: Record, label: str | None, layout: Layout) -> float | None:
    if label is None:
        return None
    if not layout.classes:
        return record.number(label, "score")
    if label not in layout.classes:
        msg = f"{record.where}: unknown label {label!r}; labels: {', '.join(layout.classes)}"
        raise DataError(msg)
    return float(layout.classes.index(label))
