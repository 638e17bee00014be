"""Numbers in words and tables of reports; – stands for one that is not known."""

from __future__ import annotations

import math

import pandas as pd

from gadask.units import core_hours_text, error_text, number_text

UNKNOWN = "–"


def number(value: float) -> str:
    """Return a number with digits by its scale, and a minus as printers have it."""
    return number_text(value).replace("-", "−")


def mean_over(mean: float, error: float, episodes: str) -> str:
    """Return a mean with its standard error, where that is known, and what it is over, such as `30 fresh episodes`."""
    spread = "" if math.isnan(error) else " (standard error)"
    return f"{error_text(mean, error).replace('-', '−')}{spread} over {episodes}"


def duration(seconds: float) -> str:
    """Return a time in seconds below two minutes, in minutes below an hour, else in hours and minutes."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min"


def core_hours(generations: pd.DataFrame) -> str:
    """Return the core-hours that the cluster charged, or where none did those of the rollout processes."""
    charged, played = generations["core_hours"].sum(), generations["process_s"].sum() / 3600
    return core_hours_text(charged or played)


def share(generations: pd.DataFrame, column: str) -> str:
    """Return in per cent how much of the process time a column of seconds is."""
    whole = generations["process_s"].sum()
    return f"{100 * generations[column].sum() / whole:.1f} %" if whole else UNKNOWN
