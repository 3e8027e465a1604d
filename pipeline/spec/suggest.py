"""What to type instead of a name that does not exist."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 40
MAX_LENGTH = 100


def did_you_mean(name: str, known: Iterable[str], label: str) -> str:
    """`Did you mean seq_len? Fields: d_model, seq_len.`, or only the list when nothing is near.

    Args:
        name: what was written.
        known: what could have been written.
        label: what the list is called: "Fields", "Stages".
    """
    names = sorted(set(known))
    if not names:
        return f"{label}: none."
    listed = ", ".join(names[:MAX_LISTED])
    if len(names) > MAX_LISTED:
        listed += f" and {len(names) - MAX_LISTED} more"
    near = difflib.get_close_matches(name[:MAX_LENGTH], names, n=1, cutoff=0.6)
    return f"{f'Did you mean {near[0]}? ' if near else ''}{label}: {listed}."
