"""Draw a run's learning curve: `python analysis/learning_curve.py RUN_DIR [--output CURVE.png]`.

The abscissa counts emulator frames, candidates' evaluation included, as the budget does; each generation stands where
it closed. Bands are quantiles of its children's returns, one episode each. The elite is drawn where it was crowned,
as mean ± standard error over its evaluation episodes. That mean is the best of several noisy ones and so too high;
the elite test, on episodes that no selection has seen, is not.

Colours are those of Okabe and Ito (2008), *Color universal design*.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from gadask import files
from gadask.config import Config
from gadask.errors import GadaskError, RecordError, RunDirectoryError, UsageError
from gadask.record import read_episodes, read_generations, read_run

_CHILDREN, _ELITE, _TEST = "#0072B2", "#D55E00", "#000000"
_BANDS = (("0.05", "0.95", "#D3E5F1", "children, 5–95 %"), ("0.25", "0.75", "#94C3E0", "children, 25–75 %"))
_MAX_MARKED = 40  # more generations than this are lines without markers
_SUFFIXES = (".png", ".pdf", ".svg")
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Arguments:
    """Draw the learning curve of a run, also of one that is still going on."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="CURVE.png")] = None
    """PNG, PDF or SVG file to write; by default RUN_DIR/learning_curve.png."""


@dataclass(frozen=True)
class Curve:
    """What is drawn, one entry a generation; NaN where a generation has no such value. Arrays are float64."""

    frames: NDArray[np.float64]
    """Frames of the whole run when the generation closed."""
    quantiles: dict[str, NDArray[np.float64]]
    """Children's returns, by quantile as in the log: `"0.05"`, `"0.5"`, `"1"` and so on."""
    elite_mean: NDArray[np.float64]
    elite_error: NDArray[np.float64]
    """Standard error of the elite's mean."""


def draw_learning_curve(run_dir: Path | str, path: Path | str | None = None) -> Path:
    """Draw a run's learning curve and return the file written, by default `run_dir/learning_curve.png`.

    Raises:
        RunDirectoryError: there is no run, or none of its generations is closed.
        UsageError: `path` ends in something else than .png, .pdf or .svg.
        RecordError: the run directory is damaged, or the file cannot be written.
    """
    run_dir = Path(run_dir)
    path = run_dir / "learning_curve.png" if path is None else Path(path)
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(_SUFFIXES)}, found {path.suffix!r}")
    config, _ = read_run(run_dir)
    lines = list(read_generations(run_dir))
    if not lines:
        raise RunDirectoryError(f"{run_dir}: expected at least one closed generation, found none; let the run go on")
    with rc_context(_STYLE):
        figure = Figure(figsize=(7, 4.4), dpi=200, layout="constrained")
        axes = figure.subplots()
        _draw_curve(axes, read_curve(run_dir, lines))
        _draw_test(axes, run_dir, frames=lines[-1]["total"]["frames"])
        _label(axes, config, lines)
        figure.legend(loc="outside lower center", ncols=3)
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:])
    files.atomic_write(path, content.getvalue())
    return path


def read_curve(run_dir: Path, lines: Sequence[dict[str, Any]]) -> Curve:
    """Return what there is to draw of the log's `lines`, at least one."""
    names = ("0.05", "0.25", "0.5", "0.75", "0.95", "1")
    quantiles = {name: [line["children"]["quantiles"].get(name) for line in lines] for name in names}
    return Curve(
        frames=np.array([line["total"]["frames"] for line in lines], np.float64),
        quantiles={name: np.array(values, np.float64) for name, values in quantiles.items()},
        elite_mean=np.array([line["elite"] and line["elite"]["mean"] for line in lines], np.float64),
        elite_error=np.array([_elite_error(run_dir, line) for line in lines], np.float64),
    )


def _elite_error(run_dir: Path, line: dict[str, Any]) -> float:
    """Return the standard error of the elite's mean; NaN without two evaluation episodes in this generation."""
    genomes = [candidate["genome"] for candidate in line["candidates"]]
    elite = line["elite"]
    if elite is None or elite["genome"] not in genomes:
        return math.nan
    try:
        episodes = read_episodes(run_dir, line["generation"]).to_pandas()
    except RecordError:  # the log alone is enough for everything else
        return math.nan
    own = episodes["counted"] & (episodes["kind"] == "evaluation") & (episodes["status"] == "ok")
    own &= episodes["slot"] == genomes.index(elite["genome"])
    return _standard_error(episodes.loc[own, "return"].to_numpy())


def _standard_error(returns: NDArray[np.float64]) -> float:
    return float(np.std(returns, ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else math.nan


def _draw_curve(axes: Axes, curve: Curve) -> None:
    x, quantiles = curve.frames, curve.quantiles
    marked = len(x) <= _MAX_MARKED

    def widened(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if len(values) > 1 else values.repeat(2)  # an area needs two places

    x_children = x if len(x) > 1 else x * [0.95, 1.05]
    for lower, upper, color, label in _BANDS:
        band = widened(quantiles[lower]), widened(quantiles[upper])
        axes.fill_between(x_children, *band, color=color, linewidth=0, label=label)
    axes.plot(x_children, widened(quantiles["0.5"]), color=_CHILDREN, linewidth=1.6, label="children, median")
    marker = "." if marked else ""
    axes.plot(x, quantiles["1"], color=_CHILDREN, linewidth=0.8, linestyle=":", marker=marker, label="children, best")
    error = np.nan_to_num(curve.elite_error)
    label = "elite, mean ± s.e." if error.any() else "elite"
    style: dict[str, Any] = {"linewidth": 1.8, "elinewidth": 1, "marker": "o" if marked else "", "markersize": 4}
    axes.errorbar(x, curve.elite_mean, error, color=_ELITE, label=label, **style)


def _draw_test(axes: Axes, run_dir: Path, frames: int) -> None:
    """Draw the elite test, if there is one, beside the end of the run."""
    path = run_dir / "elite_test.json"
    content = files.read(path)
    if content is None:
        return
    try:
        test = json.loads(content)
        returns = np.array(test["returns"], np.float64)
        mean = float(returns.mean())
    except (ValueError, KeyError, TypeError):
        raise RecordError(f"{path}: damaged; expected the elite's returns; test the elite again") from None
    error = np.nan_to_num(_standard_error(returns))
    label = f"elite test, {len(returns)} fresh episodes"
    # A little to the right, so that it does not hide the last elite.
    style: dict[str, Any] = {"linestyle": "", "marker": "D", "markersize": 5, "capsize": 3}
    axes.errorbar(1.02 * frames, mean, error, color=_TEST, label=label, **style)


def _label(axes: Axes, config: Config, lines: Sequence[dict[str, Any]]) -> None:
    total = lines[-1]["total"]
    env = config.env.id.removeprefix("ALE/")
    axes.set_title(f"{env} · {config.policy.kind} · population {config.ga.population:,} · seed {config.seed}")
    axes.set_xlabel("environment steps" if total["frames"] == total["steps"] else "emulator frames")
    axes.set_ylabel("episode return")
    axes.set_xlim(0, (1.04 if len(lines) > 1 else 2) * total["frames"])
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    arguments = tyro.cli(Arguments, args=list(argv))
    try:
        print(draw_learning_curve(arguments.run_dir, arguments.output))
    except GadaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
