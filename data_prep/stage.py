"""The stage kinds of data preparation; importing this needs neither torch nor sentencepiece."""

from collections.abc import Mapping
from dataclasses import replace

from data_prep.config import DocumentsConfig, SyntheticConfig, TextConfig, TokenizerConfig
from data_prep.images_config import ImagesConfig
from pipeline.spec.config import StageConfig
from pipeline.spec.ports import FOLDER, SHARDS, Port
from pipeline.spec.ports import TOKENIZER as TOKENIZER_PORT
from pipeline.spec.stage import Launch, StageSpec

_TEXT = replace(FOLDER, optional=True)
Ports = tuple[Mapping[str, Port], Mapping[str, Port]]


def _text_input(config: StageConfig) -> dict[str, Port]:
    """The `text` port is there, and then it must be connected, when nothing else gives text."""
    if isinstance(config, DocumentsConfig) and not config.reads_input:
        return {}
    return {"text": FOLDER}


def _tokenizer_ports(config: StageConfig) -> Ports:
    return _text_input(config), {"tokenizer": TOKENIZER_PORT}


def _text_ports(config: StageConfig) -> Ports:
    labelled = isinstance(config, TextConfig) and config.label != "none"
    shards = SHARDS("classified" if labelled else "tokens")
    return {"tokenizer": TOKENIZER_PORT, **_text_input(config)}, {"shards": shards}


def _image_ports(config: StageConfig) -> Ports:
    """The `images` port is there, and then it must be connected, when there is no source."""
    reads_input = not isinstance(config, ImagesConfig) or config.reads_input
    return {"images": FOLDER} if reads_input else {}, {"shards": SHARDS("images")}


SYNTHETIC = StageSpec(
    name="data_prep.synthetic",
    config=SyntheticConfig,
    run="data_prep.synthetic:run",
    outputs={"folder": FOLDER},
    uses_seed=True,
)
TOKENIZER = StageSpec(
    name="data_prep.tokenizer",
    config=TokenizerConfig,
    run="data_prep.tokenizer:run",
    inputs={"text": _TEXT},
    outputs={"tokenizer": TOKENIZER_PORT},
    libraries=("sentencepiece",),
    ports_of=_tokenizer_ports,
)
TEXT = StageSpec(
    name="data_prep.text",
    config=TextConfig,
    run="data_prep.text:run",
    inputs={"tokenizer": TOKENIZER_PORT, "text": _TEXT},
    outputs={"shards": SHARDS("tokens")},
    launch=Launch.WORKERS,
    libraries=("sentencepiece", "numpy"),
    ports_of=_text_ports,
)
IMAGES = StageSpec(
    name="data_prep.images",
    config=ImagesConfig,
    run="data_prep.images:run",
    inputs={"images": replace(FOLDER, optional=True)},
    outputs={"shards": SHARDS("images")},
    launch=Launch.WORKERS,
    uses_seed=lambda config: config.subset is not None,
    # Other versions may encode other bytes, or find other files corrupt.
    libraries=("pillow", "numpy"),
    ports_of=_image_ports,
)
