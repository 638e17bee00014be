"""Where episodes ended, for runs whose behaviour has two entries: a place, such as where a robot was at the end.

The figure shows the children of the last generation, those of the generations before it fainter, the parents chosen
from them, the candidates, the elite, and what the algorithm remembers, as novelty search's archive, from the
checkpoint. In the hard maze they lie among its walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bokeh.models import Range1d
from bokeh.plotting import figure
from numpy.typing import NDArray

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Behaviour, archived
from gadask.analysis.figures import CHILD, ELITE, EVALUATION, GREY, LATE, new_figure, style_legend
from gadask.analysis.page import Page
from gadask.analysis.runs import Run
from gadask.envs.hard_maze import NEAR
from gadask.envs.hard_maze_geometry import GOAL, START, WALLS
from gadask.record.directory import read_generations, read_run
from gadask.record.frames import episode_frame

MAZE = "gadask/HardMaze-v0"
N_BEFORE = 9
"""Generations before the last one whose children are drawn."""

_MARGIN = 6.0
_MAX_HEIGHT = 640
_LEGEND = 270  # pixels, with the axis
_WALL, _GOAL = "#222222", "#009E73"

Places = NDArray[np.float64]
"""Shape `(n, 2)`."""


@dataclass(frozen=True)
class Positions:
    """Where episodes of a run ended."""

    generation: int
    """The last closed generation."""
    children: Places
    """Its children's episodes."""
    before: Places
    """Children's episodes of at most `N_BEFORE` generations before it."""
    archive: Places
    """What the algorithm remembers of earlier generations; none of most."""
    parents: Places
    """The next generation's parents, in the last one."""
    candidates: Places
    """Its candidates, means over their episodes."""
    elite: Places
    """The elite as the candidate that was crowned; none where it was not a candidate."""


def read_positions(run: Run) -> Positions | None:
    """Return where a run's episodes ended; None where behaviours have not two entries, or none is known.

    Raises:
        RecordError: the run directory is damaged.
    """
    if not run.config.env.behaviour:
        return None
    last = run.generations.iloc[-1]
    elite: list[Behaviour | None] = []
    for line in read_generations(run.path):
        behaviours = {candidate["genome"]: candidate.get("behaviour") for candidate in line["candidates"]}
        if line["elite"] and line["elite"]["genome"] in behaviours and line["generation"] == last["elite_generation"]:
            elite = [behaviours[line["elite"]["genome"]]]
    candidates, parents = list(behaviours.values()), line.get("next_parents_behaviour", [])
    known = [behaviour for behaviour in (*candidates, *parents) if behaviour is not None]
    if not known or len(known[0]) != 2:
        return None
    number = int(last["generation"])
    earlier = list(range(max(0, number - N_BEFORE), number))
    return Positions(
        number,
        _children(run.path, [number]),
        _children(run.path, earlier),
        _archive(run),
        _places(parents),
        _places(candidates),
        _places(elite),
    )


def plot_positions(positions: Positions, env: str, width: int = 1000) -> figure:
    """Return the picture of places, one unit as long on both axes; `env` is the id of the environment."""
    is_maze = env == MAZE
    labels = (
        {"x": "x", "y": "y (downwards)"} if is_maze else {"x": "first number of the behaviour", "y": "second number"}
    )
    left, right, low, high = _bounds(positions, is_maze)
    plot_width = min(width, round(_MAX_HEIGHT * (right - left) / (high - low)) + _LEGEND)
    height = min(_MAX_HEIGHT, round((plot_width - _LEGEND) * (high - low) / (right - left)) + 60)
    y_range = Range1d(high, low) if is_maze else Range1d(low, high)
    plot = new_figure(
        **labels, width=plot_width, height=height, x_range=Range1d(left, right), y_range=y_range, match_aspect=True,
        tools="pan,wheel_zoom,box_zoom,reset,save",
    )  # fmt: skip
    plot.ygrid.visible = not is_maze
    if is_maze:
        draw_maze(plot)
    number = positions.generation
    first = max(0, number - N_BEFORE)
    for places, label, style in (
        (positions.before, f"children, generations {first}–{number - 1}", {"color": GREY, "size": 3, "alpha": 0.25}),
        (positions.archive, "archive", {"marker": "x", "color": LATE, "size": 6, "alpha": 0.8}),
        (positions.children, f"children, generation {number}", {"color": CHILD, "size": 4, "alpha": 0.45}),
        (positions.parents, "next parents", {"fill_color": CHILD, "line_color": "white", "size": 9}),
        (positions.candidates, "candidates", {"marker": "diamond", "fill_color": EVALUATION, "size": 13}),
        (positions.elite, "elite", {"marker": "star", "fill_color": ELITE, "size": 20}),
    ):
        if len(places):
            outline = {} if "color" in style or "line_color" in style else {"line_color": "#222222"}
            plot.scatter(places[:, 0], places[:, 1], legend_label=label, **style, **outline)
    if plot.legend:
        style_legend(plot.legend[0])
        plot.add_layout(plot.legend[0], "right")
    return plot


def draw_maze(plot: figure) -> None:
    """Draw the walls, the start and the goal of the hard maze."""
    ends = WALLS.T
    plot.segment(*ends, color=_WALL, line_width=3)
    plot.scatter(*START, marker="circle", size=12, fill_color="white", line_color=_WALL, line_width=2)
    plot.circle(*GOAL, radius=NEAR, color=_GOAL)
    for (x, y), text, above in ((START, "start", 10), (GOAL, "goal", 16)):  # pixels
        plot.text([x], [y], [text], y_offset=-above, text_align="center", text_font_size="12px", text_color=_WALL)


def add_positions(page: Page, run: Run) -> None:
    """Add the section of a run whose behaviour has two entries; nothing for another."""
    positions = read_positions(run)
    if positions is None:
        return
    page.heading("Where episodes ended")
    page.figure(plot_positions(positions, run.config.env.id))
    page.note(
        "Behaviours of two numbers, drawn as places: children as single episodes; parents and candidates as means of"
        " theirs, in the last generation; the elite in the generation that crowned it. A click on an entry hides what"
        " it names."
    )


def _places(behaviours: list[Behaviour | None]) -> Places:
    found = [behaviour for behaviour in behaviours if behaviour is not None]
    return np.array(found, np.float64).reshape(-1, 2)


def _children(path: Path, generations: list[int]) -> Places:
    """Return where counted children's episodes of these generations ended."""
    episodes = episode_frame(path, generations, ("kind", "status", "counted", "behaviour"))
    if episodes.empty:
        return np.zeros((0, 2))
    own = episodes[(episodes["kind"] == "child") & (episodes["status"] == "ok") & episodes["counted"]]
    return _places(own["behaviour"].tolist())


def _archive(run: Run) -> Places:
    config, state = read_run(run.path)
    algorithm = make_algorithm(config)
    return _places(list(archived(algorithm, algorithm.from_json(state.algorithm))) if state.algorithm else [])


def _bounds(positions: Positions, is_maze: bool) -> tuple[float, float, float, float]:
    """Return left, right, low and high of what is drawn."""
    every = [WALLS.reshape(-1, 2)] if is_maze else []
    every += [positions.children, positions.before, positions.archive, positions.parents]
    every += [positions.candidates, positions.elite]
    low, high = np.concatenate(every).min(axis=0), np.concatenate(every).max(axis=0)
    margin = _MARGIN if is_maze else 0.05 * float((high - low).max()) or 1.0
    return low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin
