"""Numbers, counts and lengths of time in few characters."""

from __future__ import annotations


def count_text(number: float) -> str:
    """Return a number that is not negative, such as `"12.3k"`: three digits, at most five columns."""
    if number < 999.5:
        return f"{number:.0f}"
    for unit in "kMGTPE":
        number /= 1000
        if number < 999.5:
            return f"{number:.3g}{unit}"
    return f"{number:.0e}"


def many(n: int, one: str, several: str = "") -> str:
    """Return a number of things, such as `"1 node"` and `"1,200 nodes"`; `several` where that is not `one` and an s."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def duration_text(seconds: float) -> str:
    """Return a length of time as minutes and seconds, `"3:07"`, or with hours, `"1:02:45"`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
