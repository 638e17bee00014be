"""The runs of a study, opened to compare."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gadask.face.runs import Run, open_run
from gadask.units import many

if TYPE_CHECKING:
    import pandas as pd

    from gadask.analysis.runs import Run as LoadedRun
    from gadask.face.shown import Figure, Film, Report


class Study:
    """Runs of one or several games, seeds and settings; those without a closed generation are left out.

    What is compared is as of opening. A `system` is what tells runs of the same game and seed apart.

    Example:
        >>> import gadask
        >>> study = gadask.open_study("runs/mine")
        >>> {game: run.config.seed for game, run in study.best().items()}
        {'CartPole-v1': 0}
    """

    folders: tuple[Path, ...]
    """Where the runs were found."""

    def __init__(self, folders: Sequence[Path], loaded: Sequence[LoadedRun]) -> None:
        """For `open_study`."""
        self.folders = tuple(folders)
        self._loaded = list(loaded)

    @cached_property
    def runs(self) -> list[Run]:
        """The runs, in the order of their paths."""
        return [open_run(run.path) for run in self._loaded]

    def generations(self) -> pd.DataFrame:
        """Return one row per generation of each run, with `run`, `game`, `seed` and `system`."""
        from gadask.analysis.runs import study_frame

        return study_frame(self._loaded)

    def scores(self) -> pd.DataFrame:
        """Return one row per run: its last elite's `score`, and `is_test`, whether it is the mean of a test."""
        from gadask.analysis.scores import final_scores

        return final_scores(self._loaded)

    def table(self) -> pd.DataFrame:
        """Return the median score over seeds, games × systems, and published scores beside it."""
        from gadask.analysis.scores import score_table

        return score_table(self.scores())

    def aggregates(self) -> pd.DataFrame:
        """Return each system's interquartile mean over games of scores normalised to a human player's."""
        from gadask.analysis.scores import aggregates

        return aggregates(self.scores())

    def best(self) -> dict[str, Run]:
        """Return the run with the best score of each game; scores of two games do not compare.

        Where some runs of a game were tested, the others' scores, which are too high, do not count.
        """
        scores = self.scores().sort_values(["is_test", "score"], kind="stable")
        best = scores.groupby("game")["run"].last()
        return {str(game): open_run(path) for game, path in best.items()}

    def curves(self, width: int = 900) -> Figure:
        """Return the learning curves, median over seeds with its 95 % interval, a panel a game."""
        from gadask.analysis.curves import plot_curves
        from gadask.face.shown import Figure

        return Figure(plot_curves(self.generations(), width=width), "Learning curves")

    def plot_aggregates(self, width: int = 900) -> Figure:
        """Return the aggregates with their 95 % intervals."""
        from gadask.analysis.scores import plot_aggregates
        from gadask.face.shown import Figure

        return Figure(plot_aggregates(self.aggregates(), width=width), "Interquartile mean over games")

    def film(self, path: Path | str | None = None) -> Film | None:
        """Film the elites of all runs side by side, by default in `wall.gif` of the first folder.

        None, with the reason logged, where no environment can be rendered. Raises as `Run.film`.
        """
        from gadask.analysis.film import film_wall
        from gadask.face.shown import Film

        made = film_wall([run.path for run in self._loaded], path or self.folders[0] / "wall.gif")
        return None if made is None else Film(made)

    def report(self, path: Path | str | None = None) -> Report:
        """Write one HTML page on the study, by default `report.html` in the first folder."""
        from gadask.analysis.report import report_study
        from gadask.face.shown import Report

        return Report(report_study(self._loaded).write(Path(path or self.folders[0] / "report.html")))

    def __repr__(self) -> str:
        return f"<study of {many(len(self._loaded), 'run')} in {', '.join(map(str, self.folders))}>"

    def _repr_html_(self) -> str:
        """Return a table of the runs and their scores."""
        scores = self.scores()[["game", "system", "seed", "frames", "score", "is_test"]]
        return f"<b>{html.escape(repr(self)[1:-1])}</b>{scores.to_html(index=False, escape=True)}"


def open_study(paths: Path | str | Iterable[Path | str]) -> Study:
    """Open the runs among and below a folder, or several, to compare them.

    Raises:
        RunDirectoryError: there is no run with a closed generation.
        ConfigError, RecordError: a run directory is damaged.

    Example:
        >>> import gadask
        >>> [str(run.path) for run in gadask.open_study("runs/mine").runs]
        ['runs/mine']
    """
    from gadask.analysis.runs import load_study

    folders = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    return Study(folders, load_study(folders))
