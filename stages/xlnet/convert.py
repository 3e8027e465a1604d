"""XLNet weights to and from elsewhere, by hand: `python -m stages.xlnet.convert --help`.

    python -m stages.xlnet.convert import FOLDER CHECKPOINT TOKENIZER
    python -m stages.xlnet.convert export CHECKPOINT TOKENIZER FOLDER
    python -m stages.xlnet.convert import-tf PREFIX CHECKPOINT TOKENIZER
    python -m stages.xlnet.convert export-tf CHECKPOINT FILE.npz

In a DAG the first two are the stage kinds `xlnet.import_hf` and `xlnet.export_hf`.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import WorkerError
from stages.xlnet.tensorflow_checkpoint import export_variables, import_released
from stages.xlnet.transformers_folder import export_folder, import_folder

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 1 where the input is refused, with the reason on standard error."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (WorkerError, OSError) as exc:
        logger.error("%s", exc)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "import":
        _make(options.checkpoint, options.tokenizer)
        import_folder(
            options.folder, options.checkpoint, options.tokenizer, activation=options.activation
        )
    elif options.command == "export":
        _make(options.folder)
        export_folder(options.checkpoint, options.tokenizer, options.folder, form=options.form)
    elif options.command == "import-tf":
        _make(options.checkpoint, options.tokenizer)
        import_released(options.prefix, options.checkpoint, options.tokenizer)
    else:
        export_variables(options.checkpoint, options.file)


def _make(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stages.xlnet.convert", description="XLNet weights to and from elsewhere."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    there = commands.add_parser("import", help="a folder of transformers to our artifacts")
    for name in ("folder", "checkpoint", "tokenizer"):
        there.add_argument(name, type=Path)
    there.add_argument(
        "--activation", choices=("config", "gelu_tanh", "gelu_erf", "relu"), default="config"
    )
    back = commands.add_parser("export", help="our artifacts to a folder of transformers")
    for name in ("checkpoint", "tokenizer", "folder"):
        back.add_argument(name, type=Path)
    back.add_argument("--form", choices=("safetensors", "bin"), default="safetensors")
    released = commands.add_parser(
        "import-tf", help="a released checkpoint; xlnet_config.json and spiece.model lie beside it"
    )
    released.add_argument("prefix", type=Path, help="what comes before .index, or an .npz file")
    for name in ("checkpoint", "tokenizer"):
        released.add_argument(name, type=Path)
    variables = commands.add_parser("export-tf", help="an .npz file under the released names")
    variables.add_argument("checkpoint", type=Path)
    variables.add_argument("file", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
