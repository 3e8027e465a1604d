"""`pipeline version`: what is installed here."""

import json

from pipeline.cli.options import Output, OutputFormat

DISTRIBUTIONS = ("pretraining-pipeline", "torch", "torchvision", "torchaudio", "deepspeed")


def version(output: OutputFormat = Output.TEXT) -> None:
    """Prints the version of the pipeline and of what it trains with."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    if output is Output.JSON:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:22}{value}")
