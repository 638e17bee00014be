"""Numbers, counts and lengths of time in few characters, with the digits that their scale asks for."""

from __future__ import annotations

import math


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
    """Return a time that is not negative: `"4:05"`, `"2:59:00"`, and from 100 hours on `"5 d 3 h"`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 100:
        return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    days, hours = divmod(hours + minutes // 30, 24)
    return f"{days} d {hours} h" if days < 10_000 else f"{count_text(days)} d"


def core_hours_text(hours: float) -> str:
    """Return core-hours with two decimals, fewer than a tenth with two significant digits: `"1,280.00"`, `"0.0083"`."""
    return f"{hours:,.2f}" if hours >= 0.1 or not hours else f"{hours:.2g}"


def number_text(number: float, digits: int = 4) -> str:
    """Return a number with at least its whole digits and about `digits` significant ones: `"12,346"`, `"0.9812"`.

    Whole numbers have no decimals, and others none that are 0 at the end. `"–"` for NaN.
    """
    if math.isnan(number):
        return "–"
    if math.isinf(number) or number == 0 or not 1e-4 <= abs(number) < 1e15:
        return f"{number + 0:.{digits}g}"
    return _trimmed(f"{number:,.{_decimals(number, digits)}f}")


def error_text(mean: float, error: float) -> str:
    """Return a mean with its error, `"0.9460 ± 0.0023"`: two significant digits of it, and the mean to the same place.

    The mean alone, as `number_text` writes it, where the error is NaN; no decimals of an error of 0.
    """
    if math.isnan(mean) or not 0 < error < math.inf:
        return number_text(mean) + ("" if math.isnan(error) else f" ± {number_text(error)}")
    decimals = _decimals(error, 2)
    return f"{mean + 0:,.{decimals}f} ± {error:,.{decimals}f}" if decimals < 10 else f"{mean:.4g} ± {error:.2g}"


def _decimals(number: float, digits: int) -> int:
    """Return how many decimals show `digits` significant digits of a number that is not 0."""
    return max(0, digits - 1 - math.floor(math.log10(abs(number))))


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
