"""A run directory, opened to look at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gadask.algorithms.algorithm import Elite
from gadask.config import Config
from gadask.genomes.genome import Genome, to_text
from gadask.master.evaluate import choose_genome
from gadask.record.directory import State, read_run
from gadask.record.generations import read_normaliser
from gadask.tables import html_table

if TYPE_CHECKING:
    import pandas as pd

    from gadask.face.policy import EvolvedPolicy


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
        """Return the log as a frame, one row a generation; see `gadask.record.frames.generation_frame`."""
        from gadask.record.frames import generation_frame

        return generation_frame(self.path)

    def episodes(self, generation: int | None = None) -> pd.DataFrame:
        """Return the episodes of one generation, or of all, one row an episode; see `docs/run-directory.md`."""
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
    """Open a run directory to look at: config, log, episodes, elite, policy.

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
