"""Draw the family tree of a run's elites: `gadask lineage RUN_DIR [--out LINEAGE.html]`.

Time runs to the right, in generations. A dot is a genome where it was born, a line leads to it from its parent, and the
bar after it lasts as long as it was a parent itself. The last elite's line of descent is the straight one in the
middle; other lines stay near what they branched from; otherwise their height means nothing. Diamonds mark where the
elite changed. Hover over a genome for its scores and lengths; click it to copy it, for example for
`gadask evaluate --genome`.

Below the figure is how many generations back the youngest common ancestor of all parents was born, once they have one.
A large family is pruned to the ancestors of the last parents and of every elite; the figure says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro
from bokeh.layouts import column
from bokeh.models import (
    BoxAnnotation,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    LayoutDOM,
    LinearColorMapper,
    TapTool,
    Title,
)
from bokeh.palettes import Blues256
from bokeh.plotting import figure

from gadask.analysis.ancestry import EPISODE_COLUMNS, NONE, Lineage, ancestors, common_ancestors, read_lineage
from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import (
    CHILD,
    ELITE,
    GREY,
    LIGHT_GREY,
    SUBTITLE,
    check_suffix,
    new_figure,
    save,
    style_legend,
    whole_numbers,
)
from gadask.analysis.runs import load_run
from gadask.record.frames import episode_frame
from gadask.units import many, number_text

MAX_GENOMES = 2000
"""A larger family is pruned before it is drawn."""

_MAX_MARKED = 100
_COLORS = tuple(Blues256[200::-1])  # the lightest ones cannot be seen on white
_TOOLTIP = """
<div style="font-size: 12px">
  <b>…@part</b>, @length parts, born in generation @born<br>
  as a child: return @score{0,0.[000]}, @steps{0,0} steps<br>
  @evaluated<br>
  @role
</div>
"""
_COPY = """
const at = source.selected.indices[0]
if (at === undefined) return
const parts = []
for (let i = at; i >= 0; i = source.data.parent[i]) parts.push(source.data.part[i])
const genome = parts.reverse().join("-")
const area = document.createElement("textarea")
area.value = genome
document.body.append(area)
area.select()
document.execCommand("copy")
area.remove()
note.text = `Copied ${source.data.length[at]} parts: ${genome.length > 100 ? "…" + genome.slice(-100) : genome}`
"""


@dataclass(frozen=True)
class Arguments:
    """Draw the family tree of a run's elites."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="LINEAGE.html")] = None
    """HTML, PNG or SVG file to write; by default RUN_DIR/lineage.html."""


def plot_lineage(lineage: Lineage, width: int = 1000, hint: bool = True) -> LayoutDOM:
    """Return the family tree, and below it how far back the parents' common ancestor was born, once they have one.

    `hint` says whether a line tells what can be done with the mouse; a picture has none.
    """
    genomes, is_pruned = _shown(lineage)
    trunk = ancestors(lineage.genomes, lineage.elites[-1:])
    lanes = lay_out(genomes, trunk)
    genomes = genomes.assign(lane=lanes)
    height = int(np.clip(12 * np.ptp(lanes) + 140, 280, 640))
    tree = new_figure(x="generation", y="", width=width, height=height, tools="pan,xwheel_zoom,box_zoom,reset,save")
    tree.xaxis.ticker = whole_numbers()
    tree.yaxis.visible = tree.ygrid.visible = False
    _draw_descent(tree, genomes, trunk)
    # Of marks: a generation may be few pixels wide.
    scale = float(np.clip(width / (12 * len(lineage.elites)), 0.4, 1.0))
    _draw_elites(tree, genomes, lineage.elites, scale)
    note = Title(text="Hover a genome for its scores, click it to copy it.", **SUBTITLE)
    _draw_genomes(tree, genomes, note, scale)
    ancestry = common_ancestors(lineage)
    has_ancestor = bool(ancestry["born"].notna().any())
    tree.add_layout(Title(text=_subtitle(lineage, has_ancestor, len(genomes), is_pruned), **SUBTITLE), "above")
    if tree.legend:
        style_legend(tree.legend[0])
        tree.legend[0].update(location="top_left", orientation="horizontal", spacing=10, click_policy="none")
        tree.add_layout(tree.legend[0], "above")
    if hint:
        tree.add_layout(note, "below")
    return column(tree, *([_plot_common_ancestor(ancestry, tree, width)] if has_ancestor else []))


def lay_out(genomes: pd.DataFrame, trunk: set[int]) -> list[int]:
    """Return each genome's lane, an integer: no two bars and no two families overlap, and no lines cross.

    `genomes` needs the columns `parent` (a row above, −1 for none), `born` and `last_seen`, the generation in which its
    bar ends. `trunk` holds index labels of a line of descent that stays as straight as it can. Trees are packed by
    their outlines, after Reingold and Tilford (1981), *Tidier drawings of trees*, but one child goes straight on.
    """
    parent, born, ends = (genomes[name].tolist() for name in ("parent", "born", "last_seen"))
    in_trunk = genomes.index.isin(list(trunk)).tolist()
    children: dict[int, list[int]] = {row: [] for row in range(NONE, len(parent))}
    for row, above in enumerate(parent):
        children[above].append(row)
    outlines: dict[int, _Outline] = {}
    offsets = [0] * len(parent)
    drift = 0  # of the trunk, from the genome looked at last to its end
    for row in range(len(parent) - 1, NONE - 1, -1):  # children stand below their parents; NONE is all founders'
        family = sorted(children[row], key=lambda child: (in_trunk[child], outlines[child].last))
        outline = _Outline()
        if family and (row == NONE or born[family[-1]] > ends[row]):
            outline = outlines.pop(family.pop())  # goes straight on
        if row != NONE:
            outline.add_bar(born[row], ends[row])
        # What was born last stands nearest: otherwise its line would cross the others.
        for child in sorted(family, key=lambda child: -born[child]):
            offsets[child] = outline.add(outlines.pop(child), prefers_up=drift < 0 if in_trunk[child] else None)
            drift += offsets[child] if in_trunk[child] else 0
        outlines[row] = outline
    lanes: list[int] = []
    for row, above in enumerate(parent):
        lanes.append(offsets[row] + (lanes[above] if above != NONE else 0))
    return lanes


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    path = arguments.out or arguments.run_dir / "lineage.html"
    check_suffix(path)
    run = load_run(arguments.run_dir)
    lineage = read_lineage(run.path, episode_frame(run.path, columns=EPISODE_COLUMNS))
    return save(
        plot_lineage(lineage, hint=path.suffix == ".html"), path, f"{run.game}, seed {run.config.seed}: lineage"
    )


def _shown(lineage: Lineage) -> tuple[pd.DataFrame, bool]:
    """Return the genomes to draw, and whether some are left out.

    The index is that of `lineage.genomes`; `parent` counts among those drawn, and `last_seen` is added.
    """
    genomes = lineage.genomes
    is_pruned = len(genomes) > MAX_GENOMES
    if is_pruned:
        rows = ancestors(genomes, [*lineage.parents[-1], *lineage.elites])
        genomes = genomes.loc[sorted(rows)]
    positions = pd.Series(range(len(genomes)), genomes.index)
    parent = genomes["parent"].map(positions).fillna(NONE).astype(int)
    last_seen = np.maximum.reduce([genomes["born"], genomes["last_parent"] - 1, genomes["last_elite"]])
    return genomes.assign(parent=parent, last_seen=last_seen), is_pruned


class _Outline:
    """Lowest and highest lane of a family by generation; its root lies in lane 0."""

    def __init__(self) -> None:
        self._low: dict[int, int] = {}
        self._high: dict[int, int] = {}
        self.last = NONE

    def add_bar(self, first: int, last: int) -> None:
        """Add the root's own bar, of generations that nothing lies in yet."""
        self._low.update(dict.fromkeys(range(first, last + 1), 0))
        self._high.update(dict.fromkeys(range(first, last + 1), 0))
        self.last = max(self.last, last)

    def add(self, other: _Outline, prefers_up: bool | None) -> int:
        """Put a family above or below, wherever it comes nearer, and return the lane of its root.

        Between equals `prefers_up` decides, and without it the side that is less high.
        """
        shared = other._low.keys() & self._low.keys()
        up = max((self._high[g] - other._low[g] + 1 for g in shared), default=1)
        down = min((self._low[g] - other._high[g] - 1 for g in shared), default=-1)
        up, down = max(up, 1), min(down, -1)
        if prefers_up is None:
            prefers_up = max(self._high.values(), default=0) <= -min(self._low.values(), default=0)
        lane = up if (up, not prefers_up) <= (-down, prefers_up) else down
        for generation in other._low:
            self._low[generation] = min(self._low.get(generation, lane), other._low[generation] + lane)
            self._high[generation] = max(self._high.get(generation, lane), other._high[generation] + lane)
        self.last = max(self.last, other.last)
        return lane


def _draw_descent(tree: figure, genomes: pd.DataFrame, trunk: set[int]) -> None:
    """Draw bars and the lines between them, the last elite's line of descent in its colour."""
    bars = genomes["born"], genomes["lane"], genomes["last_seen"], genomes["lane"]
    tree.segment(*bars, color=LIGHT_GREY, line_width=6)
    _draw_lines(tree, genomes, genomes.index, color=GREY, line_width=1)
    tree.line([0], [0], color=ELITE, line_width=2, legend_label="descent of the last elite")
    _draw_lines(tree, genomes, sorted(trunk), color=ELITE, line_width=2)


def _draw_lines(tree: figure, genomes: pd.DataFrame, rows: Sequence[int], **style: Any) -> None:
    children = genomes.loc[rows]
    children = children[children["parent"] != NONE]
    parents = genomes.iloc[children["parent"].to_numpy()]
    start = np.minimum(parents["last_seen"].to_numpy(), children["born"].to_numpy() - 1)
    start = np.maximum(start, parents["born"].to_numpy())
    tree.segment(parents["born"], parents["lane"], start, parents["lane"], **style)
    tree.segment(start, parents["lane"], children["born"], children["lane"], **style)


def _draw_elites(tree: figure, genomes: pd.DataFrame, elites: Sequence[int], scale: float) -> None:
    """Draw each elite's reign over its bar, and a diamond where it began."""
    reigns = []
    for elite, own in groupby(enumerate(elites), key=lambda pair: pair[1]):
        generations = [generation for generation, _ in own]
        if elite != NONE:
            reigns.append((genomes.at[elite, "lane"], generations[0], generations[-1]))
    if not reigns:
        return
    lanes, first, last = map(list, zip(*reigns, strict=True))
    tree.segment(first, lanes, last, lanes, color=ELITE, line_width=6 * scale)
    tree.line([0], [0], color=ELITE, line_width=6 * scale, legend_label="stays elite")
    tree.scatter(first, lanes, marker="diamond", size=16 * scale, color=ELITE, legend_label="a new elite")


def _draw_genomes(tree: figure, genomes: pd.DataFrame, note: Title, scale: float) -> None:
    source = ColumnDataSource(
        {
            **{
                name: genomes[name].to_numpy()
                for name in ("born", "lane", "part", "length", "score", "steps", "parent")
            },
            "evaluated": [_evaluated(genome) for genome in genomes.itertuples()],
            "role": [_role(genome) for genome in genomes.itertuples()],
        }
    )
    scores = genomes["score"].dropna()
    colors = LinearColorMapper(_COLORS, nan_color=CHILD)
    if len(scores):
        colors.low, colors.high = np.quantile(scores, [0.02, 0.98]).tolist()
        bar = ColorBar(color_mapper=colors, title="return as a child", width=8, padding=4)
        bar.title_text_font_style = "normal"
        tree.add_layout(bar, "right")
    dots = tree.scatter(
        "born",
        "lane",
        source=source,
        size=7 * scale,
        line_color="white",
        line_width=0.5,
        fill_color={"field": "score", "transform": colors},
        nonselection_fill_alpha=1.0,
        selection_line_color=ELITE,
        selection_line_width=2,
    )
    copy = CustomJS(args={"source": source, "note": note}, code=_COPY)
    tree.add_tools(HoverTool(renderers=[dots], tooltips=_TOOLTIP), TapTool(renderers=[dots], callback=copy))


def _evaluated(genome: Any) -> str:
    if not genome.evaluations:
        return "not evaluated again"
    lengths = "" if np.isnan(genome.evaluation_steps) else f", {genome.evaluation_steps:,.0f} steps on average"
    return f"evaluated: mean {number_text(genome.mean)} over {many(genome.evaluations, 'episode')}{lengths}"


def _role(genome: Any) -> str:
    roles = []
    if genome.last_parent != NONE:
        roles.append(f"parent until generation {genome.last_parent}")
    if genome.first_elite != NONE:
        roles.append(f"elite, first of generation {genome.first_elite}, last of {genome.last_elite}")
    return "; ".join(roles)


def _subtitle(lineage: Lineage, has_ancestor: bool, n_shown: int, is_pruned: bool) -> str:
    n_changes = sum(1 for _ in groupby(lineage.elites)) - 1
    changed = {0: "never changed", 1: "changed once"}.get(n_changes, f"changed {n_changes:,} times")
    text = f"{many(len(lineage.genomes), 'genome')} became parents or candidates; the elite {changed}"
    if not has_ancestor:
        text += "; the parents have no common ancestor yet"
    if is_pruned:
        text += f"; drawn are the {n_shown:,} ancestors of the last parents and of every elite"
    return text


def _plot_common_ancestor(frame: pd.DataFrame, tree: figure, width: int) -> figure:
    alone = frame.loc[frame["born"].isna(), "generation"]
    until = f"; none up to generation {alone.max()}" if len(alone) else ""
    panel = new_figure(
        title=f"How long ago the parents' youngest common ancestor was born{until}",
        x="generation",
        y="generations back",
        width=width,
        height=200,
        x_range=tree.x_range,
        y_range=(0, 1.1 * np.nanmax([1.0, *frame["back"]])),
    )
    panel.yaxis.ticker = whole_numbers()
    panel.xaxis.ticker = whole_numbers()
    panel.step(frame["generation"], frame["back"], mode="center", color=CHILD, line_width=2)
    if len(frame) <= _MAX_MARKED:
        panel.scatter(frame["generation"], frame["back"], color=CHILD, size=5)
    if len(alone):
        panel.add_layout(
            BoxAnnotation(left=0.5, right=alone.max() + 0.5, fill_color=LIGHT_GREY, fill_alpha=0.5, line_color=None)
        )
    return panel
