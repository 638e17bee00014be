"""Where the process time of a run's generations went: busy, discarded, or idle or other runs'."""

from __future__ import annotations

import numpy as np
import pandas as pd
from bokeh.models import HoverTool
from bokeh.plotting import figure

from gadask.analysis.figures import CHILD, LATE, LIGHT_GREY, new_figure, source_of, style_legend, whole_numbers

_PARTS = {"busy_s": (CHILD, "busy"), "discarded_s": (LATE, "discarded"), "idle_s": (LIGHT_GREY, "idle or other runs")}
_MAX_BARS = 250


def plot_process_time(generations: pd.DataFrame, width: int = 1000) -> figure:
    """Return one bar a generation, or a group of successive ones: shares of its process time.

    `generations` needs the columns `generation`, `busy_s`, `discarded_s` and `idle_s`. Busy is what counted rows took,
    discarded what was late, cut off or played twice; in a sweep the rest is partly what other runs played meanwhile.
    """
    size = -(-len(generations) // _MAX_BARS)
    groups = np.arange(len(generations)) // size
    sums = generations.groupby(groups)[list(_PARTS)].sum()
    shares = 100 * sums.div(sums.sum(axis=1).where(lambda whole: whole > 0, 1.0), axis=0)
    numbers = generations.groupby(groups)["generation"]
    source = source_of(
        shares.assign(left=numbers.min() - 0.5, right=numbers.max() + 0.5, first=numbers.min(), last=numbers.max())
    )
    plot = new_figure(x="generation", y="process time [%]", width=width, height=220, y_range=(0, 100))
    plot.xaxis.ticker = whole_numbers()
    below = np.zeros(len(shares))
    for name, (color, label) in _PARTS.items():
        source.data[f"below_{name}"], below = below, below + shares[name].to_numpy()
        source.data[f"above_{name}"] = below
        plot.quad(
            left="left", right="right", bottom=f"below_{name}", top=f"above_{name}", source=source, color=color,
            line_color="white" if len(shares) <= _MAX_BARS // 4 else color, legend_label=label,
        )  # fmt: skip
    tips = [("generation", "@first" if size == 1 else "@first to @last")]
    tips += [(label, f"@{name}{{0.0}} %") for name, (_, label) in _PARTS.items()]
    plot.add_tools(HoverTool(tooltips=tips))
    style_legend(plot.legend[0])
    plot.add_layout(plot.legend[0], "right")
    return plot
