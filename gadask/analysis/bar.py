"""Progress below a notebook's cell: a bar, and what is left of a budget, in plain HTML.

It needs no widgets: JupyterLab, VS Code and Colab show it, and replace it by display updates.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gadask.config import BudgetConfig
from gadask.master.budget import time_left_s
from gadask.units import count_text, duration_text, many, number_text

_COLOR = "#0072B2"  # that of children in figures; seen on a light and on a dark page
_WIDTH = 640  # pixels; with the percentage as wide as the live picture


@dataclass(frozen=True)
class Spent:
    """What a run has used of its budget."""

    generations: float
    """With the part of one that is played."""
    frames: int
    elapsed_s: float


def left_text(budget: BudgetConfig, spent: Spent) -> str:
    """Return what is left of a budget in words, such as `4 of 7 generations, about 0:20`; nothing where all is used.

    The time is left out where it cannot be known yet, and where the budget has no limit that time leads to.
    """
    parts = []
    if budget.generations is not None and (left := math.ceil(budget.generations - spent.generations)) > 0:
        parts.append(f"{left:,} of {many(budget.generations, 'generation')}")
    if budget.frames is not None and (frames := budget.frames - spent.frames) > 0:
        parts.append(f"{count_text(frames)} of {count_text(budget.frames)} frames")
    if budget.hours is not None and (hours_s := 3600 * budget.hours - spent.elapsed_s) > 0:
        parts.append(f"{duration_text(hours_s)} of {duration_text(3600 * budget.hours)}")
    seconds = time_left_s(budget, spent.generations, spent.frames, spent.elapsed_s)
    if seconds is not None and (budget.generations, budget.frames) != (None, None):  # hours alone are said already
        parts.append(f"about {duration_text(seconds)}")
    if budget.elite_mean is not None:
        at_most = "at most, " if parts else ""
        parts.append(f"{at_most}until the elite's mean is {number_text(budget.elite_mean)}")
    return ", ".join(parts)


def progress_html(headline: str, share: float | None, lines: Sequence[str]) -> str:
    """Return a headline, a bar of `share`, 0 to 1, and lines below it; no bar where the share is None.

    Texts are escaped; empty lines are left out.
    """
    parts = [f"<b>{html.escape(headline)}</b>"]
    if share is not None:
        parts.append(bar_html(share, _WIDTH))
    parts += [html.escape(line) for line in lines if line]
    return "".join(f"<div style='margin:2px 0'>{part}</div>" for part in parts)


def bar_html(share: float, width: int) -> str:
    """Return a bar of `width` pixels, less where there is no room, filled to `share`, 0 to 1, with its percentage."""
    percent = 100 * min(1.0, max(0.0, share))
    return (
        "<span style='white-space:nowrap'>"
        f"<span role='progressbar' aria-valuemin='0' aria-valuemax='100' aria-valuenow='{percent:.0f}'"
        f" style='display:inline-block;vertical-align:middle;width:{width}px;max-width:80vw;height:10px;"
        "border-radius:5px;overflow:hidden;background:rgba(128,128,128,0.3)'>"
        f"<span style='display:block;width:{percent:.1f}%;height:100%;background:{_COLOR}'></span></span>"
        f" {percent:.0f} %</span>"
    )
