"""Where episodes ended, of runs whose behaviour is a place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bokeh.models import Segment

from gadask.analysis.positions import MAZE, Positions, plot_positions, read_positions
from gadask.analysis.runs import load_run
from gadask.envs.hard_maze_geometry import WALLS
from gadask.record.directory import read_generations, read_run
from tests.analysis.mazes import N_CHILDREN


def drawn(positions: Positions, env: str) -> dict[str, list[tuple[float, float]]]:
    plot = plot_positions(positions, env)
    places = {}
    for item in plot.legend[0].items:
        data = item.renderers[0].data_source.data
        places[item.label.value] = list(zip(data["x"], data["y"], strict=True))
    return places


def test_every_place_of_novelty_search_is_drawn(mazes: dict[str, Path]) -> None:
    positions = read_positions(load_run(mazes["novelty"]))
    assert positions is not None
    last = list(read_generations(mazes["novelty"]))[-1]
    shown = drawn(positions, MAZE)
    assert list(shown) == [
        "children, generations 0–2", "archive", "children, generation 3", "next parents", "candidates", "elite",
    ]  # fmt: skip
    assert shown["archive"] == list(map(tuple, read_run(mazes["novelty"])[1].algorithm["archive"]))
    assert shown["archive"][-N_CHILDREN:] == shown["children, generation 3"]  # each child enters it here
    assert shown["children, generations 0–2"] == shown["archive"][:-N_CHILDREN]
    assert shown["next parents"] == list(map(tuple, last["next_parents_behaviour"]))
    assert shown["candidates"] == [tuple(candidate["behaviour"]) for candidate in last["candidates"]]


@pytest.mark.parametrize("kind", ["novelty", "openai-es"])
def test_the_elite_stands_where_it_was_crowned(kind: str, mazes: dict[str, Path]) -> None:
    run = load_run(mazes[kind])
    positions = read_positions(run)
    assert positions is not None
    assert bool(len(positions.archive)) == (kind == "novelty")
    elite = run.generations["elite"].iloc[-1]
    line = list(read_generations(run.path))[int(run.generations["elite_generation"].iloc[-1])]
    (crowned,) = (candidate for candidate in line["candidates"] if candidate["genome"] == elite)
    assert positions.elite.tolist() == [crowned["behaviour"]]


def test_walls_are_those_of_the_maze_and_of_nothing_else(mazes: dict[str, Path]) -> None:
    positions = read_positions(load_run(mazes["novelty"]))
    assert positions is not None
    maze, other = plot_positions(positions, MAZE), plot_positions(positions, "Swimmer-v5")
    (walls,) = (renderer for renderer in maze.renderers if isinstance(renderer.glyph, Segment))
    np.testing.assert_array_equal(
        np.array([walls.data_source.data[name] for name in ("x0", "y0", "x1", "y1")]).T, WALLS
    )
    assert maze.y_range.start > maze.y_range.end  # y runs down
    assert not [renderer for renderer in other.renderers if isinstance(renderer.glyph, Segment)]
    assert other.y_range.start < other.y_range.end


def test_other_behaviours_are_not_places(mazes: dict[str, Path], recorded: dict[str, Path]) -> None:
    assert read_positions(load_run(recorded["swatch"])) is None
    run = load_run(mazes["novelty"])
    assert (
        read_positions(replace(run, config=replace(run.config, env=replace(run.config.env, behaviour=False)))) is None
    )
