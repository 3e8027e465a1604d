"""Configuration of `data_prep.images`; torch-free, checked when the DAG is read."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.spec.config import Source, StageConfig
from pipeline.spec.subset import LabelledSubset


class ImagesConfig(StageConfig):
    """Images to shards.

    A source is a folder, pattern or URL of image files; archives (tar, also compressed, and zip)
    among them are read as folders of their own. In a source whose first folders are called train,
    val, validation or test, these are the splits. The folder below is the class, as in
    torchvision's ImageFolder. Without `source` the images come from the stage's `images` input.
    """

    source: Source | None = Field(None, description="images, or archives of images")
    validation_source: Source | None = Field(None, description="images of the validation split")
    test_source: Source | None = Field(None, description="images of the test split")
    list_file: Source | None = Field(
        None,
        description="a .csv, .tsv or .jsonl file: which images of `source` are the train split",
    )
    validation_list_file: Source | None = Field(None, description="the same: validation split")
    test_list_file: Source | None = Field(None, description="the same: test split")
    path_column: str = Field("path", description="list files: field with the name below `source`")
    label: Literal["folder", "column", "none"] = Field(
        "folder", description="column: the field `label_column` of the list files"
    )
    label_column: str = Field("label", description="list files: field with the class")
    classes: tuple[str, ...] | None = Field(
        None, description="class names in order; default: all labels there are, sorted"
    )
    validation_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of the train split held out, by the hash of its name"
    )
    subset: LabelledSubset | None = Field(
        None, description="labelled images of the train split to keep; chosen by the stage's seed"
    )
    on_corrupt: Literal["fail", "skip"] = Field(
        "fail", description="skip: unreadable images are left out, counted and named in the index"
    )
    shorter_side: int | None = Field(
        None, gt=0, description="larger images shrink until the shorter side has these pixels"
    )
    encode: Literal["keep", "jpeg", "png"] = Field(
        "keep", description="keep: as they are where they need no change, otherwise as PNG"
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="of images that become JPEG")
    unit_images: int = Field(
        4096, gt=0, description="images of a unit of work, which becomes one shard"
    )

    @model_validator(mode="after")
    def _origins_fit(self) -> Self:
        extra = self.validation_source or self.test_source
        if self.source is None and extra:
            msg = "validation_source and test_source go with a source"
            raise ValueError(msg)
        lists = self.validation_list_file or self.test_list_file
        if self.list_file is None and (lists or self.label == "column"):
            msg = "label: column and the other lists go with a list_file"
            raise ValueError(msg)
        if self.list_file is not None and extra:
            msg = "list files name images of `source`; use validation_list_file, test_list_file"
            raise ValueError(msg)
        if self.validation_fraction and (self.validation_source or self.validation_list_file):
            msg = "validation_fraction would make a second validation split; use one"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.label == "none" and (self.classes or self.subset):
            msg = "classes and subset need labels; set label: folder or label: column"
            raise ValueError(msg)
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            msg = f"classes must be two or more, each once; here: {', '.join(self.classes)}"
            raise ValueError(msg)
        return self

    @property
    def reads_input(self) -> bool:
        """Whether the images come from the stage's `images` input."""
        return self.source is None
