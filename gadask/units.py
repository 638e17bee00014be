"""Large numbers in few characters."""

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
