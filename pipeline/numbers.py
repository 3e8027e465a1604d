"""How counts, sizes, rates and times are written for a person."""

import time


def size(num_bytes: float) -> str:
    """`3.2 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"


def duration(seconds: float) -> str:
    """`4.2s`, `3m05s`, `2h07m`, `3d04h`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h"


def rate(value: float, unit: str) -> str:
    """`12.3k tokens/s`."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f}{suffix} {unit}/s"
    return f"{value:.1f} {unit}/s"


def moment(unix_seconds: float) -> str:
    """`2026-03-01 14:05:09`, local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))
