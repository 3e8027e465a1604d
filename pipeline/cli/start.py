"""The `pipeline` program's first lines: what must stand before anything slow is imported."""

import signal


def main() -> None:
    """Runs the command line; Ctrl-C during its imports ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Deferred: these imports are what may be interrupted.
    from pipeline.cli.main import main as run

    run()
