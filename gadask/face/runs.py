"""A run directory, opened to look at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gadask.algorithms.algorithm import Elite
from gadask.config import Config
from gadask.errors import UsageError
from gadask.genomes.genome import Genome, to_text
from gadask.master.evaluate import choose_genome
from gadask.record.directory import State, read_run
from gadask.record.generations import read_normaliser
from gadask.tables import html_table
from gadask.units import many

if TYPE_CHECKING:
    import pandas as pd

    from gadask.analysis.runs import Run as LoadedRun
    from gadask.face.policy import EvolvedPolicy
    from gadask.face.shown import Figure, Film, Report
    from gadask.record.elite_test import EliteTest


class Run:
    """A run directory, opened to read; it may be in use, and is not changed.

    `generation`, `frames` and `elite` are as of opening; methods read what is there now.

    Example:
        >>> import gadask
        >>> run = gadask.open_run("runs/mine")
        >>> len(run.generations()) == run.generation + 1
        True
        >>> len(run.episodes(generation=0).query("kind == 'child'"))
        100
    """

    path: Path
    config: Config

    def __init__(self, path: Path, config: Config, state: State) -> None:
        """For `open_run`."""
        self.path = path
        self.config = config
        self._state = state

    @property
    def generation(self) -> int:
        """The last closed generation; −1 before the first."""
        return self._state.generation

    @property
    def frames(self) -> int:
        """Frames of the whole run."""
        return self._state.frames

    @property
    def elite(self) -> Elite | None:
        """The elite of the last closed generation."""
        return self._state.elite

    def generations(self) -> pd.DataFrame:
        """Return the log as a frame, one row per generation; see `gadask.record.frames.generation_frame`."""
        from gadask.record.frames import generation_frame

        return generation_frame(self.path)

    def episodes(self, generation: int | None = None) -> pd.DataFrame:
        """Return the episodes of one generation, or of all, one row per episode; see `docs/run-directory.md`."""
        from gadask.record.frames import episode_frame

        return episode_frame(self.path, None if generation is None else [generation])

    def genome(self, which: str = "best") -> Genome:
        """Return the elite with the `"best"` mean of the whole run, the `"last"` elite, or the genome of a text.

        Raises:
            RunDirectoryError: there is no elite yet.
            GenomeError: `which` is none of these.
        """
        return choose_genome(self.path, which)

    def policy(self, which: str = "best") -> EvolvedPolicy:
        """Return a genome's policy as a torch module; `which` is as in `genome`.

        Raises:
            EnvError, PolicyError: environment or policy are not installed here.
        """
        return self._policy_of(self.genome(which))

    def _policy_of(self, genome: Genome) -> EvolvedPolicy:
        from gadask.face.policy import EvolvedPolicy
        from gadask.play.loading import load_genome, new_policy

        policy = new_policy(self.config)
        load_genome(policy, genome, self.config, self.path)
        return EvolvedPolicy(policy, read_normaliser(self.path, genome))

    def export(self, path: Path | str, which: str = "best") -> Path:
        """Write a genome's policy to a file that plays without gadask; see `gadask.face.export`. Returns the path.

        Raises:
            UsageError: the suffix is none of `.safetensors`, `.pt2`, `.onnx`.
            PolicyError: the network does what such a program cannot hold.
        """
        from gadask.face.export import check_export, export_policy

        check_export(Path(path))
        genome = self.genome(which)
        about = {
            "env": self.config.env.id,
            "policy": self.config.policy.kind,
            "genome": to_text(genome),
            "run": self.path.name,
        }
        return export_policy(self._policy_of(genome), path, about)

    @property
    def test(self) -> EliteTest | None:
        """The last test of the run's elite, as `evaluate` makes it; None where there is none."""
        from gadask.analysis.runs import finished_test

        return finished_test(self.path)

    def play(self, episodes: int = 5, which: str = "best", seed: int = 0) -> pd.DataFrame:
        """Play a genome's policy in this process; returns one row per episode: `seed`, `return`, `steps`.

        ```python
        gadask.open_run("runs/mine").play(5)["return"].mean()
        ```

        The environment's seeds are `seed`, `seed` + 1, …, which are not those of any training episode. `which` is as in
        `genome`.

        Raises:
            UsageError: `episodes` is less than 1.
            EnvError, PolicyError: environment or policy are not installed here.
        """
        import pandas as pd

        from gadask.play.loading import play_genome

        if episodes < 1:
            raise UsageError(f"episodes: expected at least 1, found {episodes}")
        genome = self.genome(which)
        seeds = range(seed, seed + episodes)
        played = play_genome(genome, self.config, self.path, seeds, read_normaliser(self.path, genome))
        rows = [(own, one.return_, one.steps) for own, one in zip(seeds, played, strict=True)]
        return pd.DataFrame(rows, columns=["seed", "return", "steps"])

    def film(self, path: Path | str | None = None, *, seed: int | None = None, inputs: bool = False) -> Film | None:
        """Film an episode of the last elite, by default in `elite.gif` of the run; a cell shows it.

        It is the recorded episode nearest to the elite's mean, or that of an environment's `seed`. `inputs` shows
        beside the picture what the policy is given. `path` ends in .gif, or .mp4 with ffmpeg. None, with the reason
        logged, where the environment cannot be rendered.

        Raises:
            UsageError: `path` ends in something else, or there is no ffmpeg for .mp4.
            RunDirectoryError: there is no elite yet.
            EnvError, PolicyError: environment or policy are not installed here.
            RecordError: the run directory is damaged, or the file cannot be written.
        """
        from gadask.analysis.film import film_elite
        from gadask.face.shown import Film

        made = film_elite(self.path, path, seed=seed, with_inputs=inputs)
        return None if made is None else Film(made)

    def report(self, path: Path | str | None = None) -> Report:
        """Write one HTML page on the run, by default its `report.html`; a cell shows it.

        Raises:
            RunDirectoryError: no generation is closed yet.
            RecordError: the run directory is damaged, or the file cannot be written.
        """
        from gadask.analysis.report import report_run
        from gadask.face.shown import Report

        return Report(report_run(self._loaded()).write(Path(path or self.path / "report.html")))

    def curve(self, width: int = 900) -> Figure:
        """Return the learning curve: children, elite and its test. Raises `RunDirectoryError` before the first."""
        from gadask.analysis.learning_curve import describe, plot_learning_curve
        from gadask.face.shown import Figure

        run = self._loaded()
        return Figure(plot_learning_curve(run, self.test, width), describe(run))

    def raster(self, width: int = 900) -> Figure:
        """Return what every rollout process did when, in the last generations."""
        from gadask.analysis.raster import describe, last_generations, plot_raster
        from gadask.analysis.runs import present_episodes
        from gadask.face.shown import Figure

        generations = self._loaded().generations
        drawn = last_generations(generations)
        note = describe(drawn, generations["generation"].tolist())
        return Figure(plot_raster(present_episodes(self.path, drawn), note, width), "What the processes did")

    def process_time(self, width: int = 900) -> Figure:
        """Return how much of the process time was spent on episodes that counted."""
        from gadask.analysis.process_time import plot_process_time
        from gadask.face.shown import Figure

        return Figure(plot_process_time(self._loaded().generations, width), "Process time")

    def lineage(self, width: int = 900) -> Figure:
        """Return the family tree of the elites."""
        from gadask.analysis.ancestry import read_lineage
        from gadask.analysis.lineage import plot_lineage
        from gadask.face.shown import Figure

        return Figure(plot_lineage(read_lineage(self.path, self.episodes()), width), "Lineage")

    def length_bias(self, width: int = 900) -> Figure:
        """Return what closing generations at their first results would have done to selection."""
        from gadask.analysis.length_bias import first_n_closing, plot_length_bias
        from gadask.analysis.runs import present_episodes
        from gadask.face.shown import Figure

        run, episodes = self._loaded(), present_episodes(self.path)
        population = self.config.generation.population
        closings = first_n_closing(episodes, population, run.parents_by_return)
        return Figure(plot_length_bias(episodes, run.generations, closings, population, width), "Length bias")

    def _loaded(self) -> LoadedRun:
        from gadask.analysis.runs import load_run

        return load_run(self.path)

    def __repr__(self) -> str:
        elite = f", elite {self.elite.mean:,.6g}" if self.elite else ""
        closed = many(self.generation + 1, "generation")
        return f"<run {self.path}: {self.config.env.id}, {closed}, {self.frames:,} frames{elite}>"

    def _repr_html_(self) -> str:
        """Return a table of how the run stands, and the elite's curve."""
        rows: dict[str, object] = {
            "environment": self.config.env.id,
            "policy": self.config.policy.kind,
            "generations": self.generation + 1,
            "frames": f"{self.frames:,}",
        }
        rows |= {f"elite: {name}": value for name, value in self.elite.in_words().items()} if self.elite else {}
        return html_table(str(self.path), rows) + _curve(self.generations())


def _curve(generations: pd.DataFrame) -> str:
    """Return the elite's mean over frames as SVG; nothing where there is no elite."""
    if generations.empty or generations["elite_mean"].isna().all():
        return ""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 2), layout="constrained")
    axes = figure.subplots()
    axes.plot(generations["frames"], generations["elite_mean"], marker=".")
    axes.set(xlabel="frames", ylabel="elite's mean")
    svg = io.StringIO()
    figure.savefig(svg, format="svg")
    return svg.getvalue().partition("?>")[2]  # without the XML declaration


def open_run(path: Path | str) -> Run:
    """Open a run directory to look at: config, log, episodes, elite, policy, figures, film, report.

    ```python
    run = gadask.open_run("runs/mine")
    run.curve()
    ```

    Raises:
        RunDirectoryError: there is no run.
        ConfigError, RecordError: the run directory is damaged.

    Example:
        >>> import gadask
        >>> run = gadask.open_run("runs/mine")
        >>> run.config.env.id
        'CartPole-v1'
    """
    config, state = read_run(path)
    return Run(Path(path), config, state)
