"""Configuration of the data preparation stages; torch-free, checked when the DAG is read."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.stdlib import stdlib_version
from pipeline.spec.config import Source, StageConfig

MIB = 1 << 20


class DocumentsConfig(StageConfig):
    """Where documents come from: files, a `text` input, or the standard library's prose.

    Files may be compressed (.gz, .bz2, .xz, .zst). Without `source` the documents come from the
    stage's `text` input.
    """

    source: Source | None = Field(None, description="files of documents")
    format: Literal["auto", "text", "jsonl", "csv", "tsv", "stdlib"] = Field(
        "auto",
        description="auto: by name (.jsonl, .csv, .tsv, otherwise text); stdlib: docstrings and "
        "topics of the running Python's standard library, without any source",
    )
    document: Literal["file", "blank_line"] = Field(
        "file", description="text: one document a file, or documents between blank lines"
    )
    text_column: str = Field("text", description="jsonl, csv, tsv: the field with the text")
    min_characters: int = Field(
        0, ge=0, description="shorter documents are left out, and counted in the log"
    )
    python: str | None = Field(
        None,
        description="stdlib: version and digest of the library whose prose this is; set by itself, "
        "so that another Python is another key",
    )

    @model_validator(mode="before")
    @classmethod
    def _stdlib_is_that_of_this_python(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("format") == "stdlib":
            return {"python": stdlib_version(), **values}
        return values

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.format != "stdlib":
            if self.python is not None:
                msg = f"python={self.python!r} goes with format: stdlib only"
                raise ValueError(msg)
            return self
        if self.source is not None:
            msg = "format: stdlib reads the running Python and takes no source"
            raise ValueError(msg)
        if self.python != stdlib_version():
            msg = (
                f"python is {self.python}, but this is {stdlib_version()}: another standard library "
                "is other text. Plan where it runs, or build the image with the Python that plans"
            )
            raise ValueError(msg)
        return self

    @property
    def reads_input(self) -> bool:
        """Whether the documents come from the stage's `text` input."""
        return self.source is None and self.format != "stdlib"


class Normalisation(StageConfig):
    """What happens to text before sentencepiece; kept in tokenizer.json and applied for ever after.

    White space is collapsed, ``-quotes become plain ones. Unicode tables are those of version 3.2,
    the one that every Python carries beside its own, so that the same text gives the same ids on
    each; characters younger than it stay as they are. Lower case is taken letter by letter: a
    sigma at the end of a word is one like any other.
    """

    strip_accents: bool = Field(
        default=True, description="NFKD without combining marks, as XLNet does; otherwise NFKC"
    )
    lower: bool = Field(
        default=False, description="lower case; the released XLNet models are cased"
    )


class TokenizerConfig(DocumentsConfig):
    """A sentencepiece unigram model; special pieces and defaults are those of the released XLNet."""

    vocab_size: int = Field(32_000, gt=0, description="pieces, the special ones included")
    character_coverage: float = Field(0.99995, gt=0, le=1)
    max_sentences: int = Field(
        10_000_000,
        gt=0,
        description="sentences it is trained on; of more, a random choice that their order decides alone",
    )
    normalisation: Normalisation = Normalisation()


class TextConfig(DocumentsConfig):
    """Documents to shards of token ids, with the ends of documents and sentences.

    Without labels each document ends with the <eod> piece, and empty ones are left out. With
    labels the output is SHARDS(classified) and a document holds its text alone.
    """

    validation_source: Source | None = Field(None, description="files of the validation split")
    test_source: Source | None = Field(None, description="files of the test split")
    validation_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of `source` that becomes the validation split, by the hash of a "
        "document's beginning",
    )
    label: Literal["none", "folder", "column"] = Field(
        "none",
        description="folder: the folder that a file lies in, below the source or in the wildcard "
        "part of its pattern (stdlib: the top-level package); column: the field `label_column`",
    )
    label_column: str = Field("label", description="jsonl, csv, tsv: the field with the label")
    classes: tuple[str, ...] | None = Field(
        None, description="class names in order; default: all labels there are, sorted"
    )
    max_classes: int | None = Field(
        None, ge=2, description="keep the classes with the most documents and drop the others"
    )
    label_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of each class's training documents that is kept, by hash",
    )
    unit_bytes: int = Field(
        8 * MIB,
        gt=0,
        description="input bytes of a unit of work, which becomes one shard a split; units are "
        "shared out among the workers",
    )

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.label == "none":
            for name, unset in (("classes", None), ("max_classes", None), ("label_fraction", 1.0)):
                if getattr(self, name) != unset:
                    msg = f"{name} needs label: folder or label: column"
                    raise ValueError(msg)
        if self.classes is not None and self.max_classes is not None:
            msg = "classes names them all already; leave max_classes out"
            raise ValueError(msg)
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            msg = f"classes names one twice: {', '.join(self.classes)}"
            raise ValueError(msg)
        if self.label == "column" and self.format in ("text", "stdlib"):
            msg = f"format: {self.format} has no columns; use label: folder"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _splits_fit(self) -> Self:
        if self.source is None and (self.validation_source or self.test_source):
            msg = "validation_source and test_source go with a source"
            raise ValueError(msg)
        if self.validation_source and self.validation_fraction:
            msg = "validation_fraction and validation_source both make a validation split; use one"
            raise ValueError(msg)
        return self


class SyntheticConfig(StageConfig):
    """Generated input with something to learn in it, a folder a class.

    text: pseudo-language whose topics have words of their own. images: a striped disc somewhere on
    a coloured ground; the direction of the stripes is the class, all else is chance.
    """

    kind: Literal["text", "images"] = Field("text", description="what is generated")
    documents: int | None = Field(
        None, gt=0, description="text: number of documents, over all classes"
    )
    images: int | None = Field(None, gt=0, description="images: their number, over all classes")
    classes: int = Field(2, gt=0, description="each has a folder of its own")
    sentences: int = Field(8, gt=0, description="text: sentences in a document on average")
    image_size: int = Field(32, ge=8, le=4096, description="images: pixels of a side")

    @model_validator(mode="after")
    def _count_fits_kind(self) -> Self:
        count = {"text": "documents", "images": "images"}
        for kind, name in count.items():
            if (getattr(self, name) is not None) != (kind == self.kind):
                msg = f"kind: {self.kind} takes {count[self.kind]}, and no other number"
                raise ValueError(msg)
        return self
