"""Draw every figure of a study into a folder: `python analysis/pictures.py RUN_DIR … [--out FOLDER]`.

`curves.png`, `table.png` and `scores.png` are of all runs, `wall.gif` shows their elites; `raster.png`, `lineage.png`
and `length_bias.png` are of the run with the most generations, the first of equals; what needs its episodes is left
out where they are missing, and its family where one centre moves. Files are small, as documentation wants them:
`docs/pictures/analysis` is drawn from the study `jobs/configs/studies/pictures.toml`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from gadask.analysis import curves, film, length_bias, lineage, raster, scores
from gadask.analysis.ancestry import read_lineage
from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import save
from gadask.analysis.runs import Run, load_study, study_frame
from gadask.console.leaving import leave
from gadask.record import files
from gadask.record.frames import episode_frame


@dataclass(frozen=True)
class Arguments:
    """Draw every figure of a study into a folder."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("pictures")
    """Folder to write to; made where it is missing."""
    wall: bool = True
    """Film the elites too."""
    wall_steps: int = 150
    """Cut the films after this many agent steps."""


def draw_pictures(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw the figures of a study and return the files written.

    Raises:
        UsageError: there is no Chromium here.
        RecordError: a run directory is damaged, or a file cannot be written.
    """
    longest = max(runs, key=lambda run: len(run.generations))
    population = longest.config.generation.population
    episodes = episode_frame(longest.path)
    drawn = raster.last_generations(longest.generations)
    note = raster.describe(drawn, longest.generations["generation"].tolist())
    layouts = {"curves": curves.plot_curves(study_frame(runs))}
    if not longest.is_moving:
        layouts["lineage"] = lineage.plot_lineage(read_lineage(longest.path, episodes), hint=False)
    if episodes.empty:
        print(f"{longest.path}: no raster.png and length_bias.png, which need episodes/", file=sys.stderr)
    else:
        closings = length_bias.first_n_closing(episodes, population, longest.parents_by_return)
        layouts["raster"] = raster.plot_raster(episodes[episodes["recorded_in"].isin(drawn)], note)
        layouts["length_bias"] = length_bias.plot_length_bias(episodes, longest.generations, closings, population)
    final = scores.final_scores(runs)
    if len(final):
        layouts["table"] = scores.plot_table(final)
    table = scores.aggregates(final)
    if len(table):
        layouts["scores"] = scores.plot_aggregates(table)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, layout in layouts.items():
        path = save(layout, folder / f"{name}.png", name)
        picture = Image.open(path).convert("RGBA")  # the seams of a layout are transparent
        opaque = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        small = io.BytesIO()  # half as large: figures have few colours
        opaque.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        files.atomic_write(path, small.getvalue())
        written.append(path)
    return written


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    runs = load_study(arguments.run_dirs)
    draw_pictures(runs, arguments.out)
    if arguments.wall:
        film.film_wall([run.path for run in runs], arguments.out / "wall.gif", arguments.wall_steps)
    return arguments.out


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
