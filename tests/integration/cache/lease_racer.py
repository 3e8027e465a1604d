"""Fights for one lease as fast as it can, until it is killed: `lease_racer.py STORE KEY FOLDER`.

Whoever has the lease notes itself in FOLDER/inside and takes the note out again. Finding the note
of a living process there is what the lease exists to prevent. Prints "both" for that, and "turn"
for each time it had the lease.
"""

import os
import sys
import time
import uuid
from pathlib import Path

from pydantic import ValidationError

from pipeline.cache.holder import Holder, this_process
from pipeline.cache.leases import Leases
from pipeline.storage import Store

PAUSE_SECONDS = 0.001


def somebody_is(inside: Path) -> bool:
    """Whether a living process has noted itself; a torn note was written by one that was killed."""
    try:
        return not Holder.model_validate_json(inside.read_text()).is_known_dead()
    except (FileNotFoundError, ValidationError):
        return False


def tell(line: str) -> None:
    """One write, so that lines of several processes in one pipe stay whole."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def main() -> None:
    """Takes the lease and gives it back, for ever."""
    leases = Leases(Store(sys.argv[1]))
    key, inside = sys.argv[2], Path(sys.argv[3], "inside")
    while True:
        token = uuid.uuid4().hex
        if leases.acquire(key, token):
            tell("both" if somebody_is(inside) else "turn")
            inside.write_text(this_process().model_dump_json())
            time.sleep(PAUSE_SECONDS)
            if not leases.held_by(key, token):
                tell("both")
            inside.unlink()
            leases.release(key, token)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
