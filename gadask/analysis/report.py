"""Report on a run or a study in one HTML page that opens offline: `gadask report RUN_DIR … [--out FILE]`.

Of one run: what it reached and what it cost, learning curve, generations, comparison with published scores, what its
processes did, how its algorithm stands, where episodes ended, the family of its elite, the bias towards short episodes,
a film, its config and the versions it was made with. Of several: learning curves, scores, costs, and a film of the best
run of each game. It works on runs that are going on or were killed, on what they have closed. Large runs are thinned
for drawing, and the page says where.

The film is played in its own process, with the environment that rollout processes have; RUN_DIR/elite.gif is used
where it shows the present elite.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro

from gadask.analysis import ancestry, curves, learning_curve, length_bias, lineage, raster, scores
from gadask.analysis.algorithm_panels import add_algorithm
from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import check_suffix, frames_label
from gadask.analysis.page import WIDTH, Page
from gadask.analysis.positions import add_positions
from gadask.analysis.process_time import plot_process_time
from gadask.analysis.published import published_scores
from gadask.analysis.runs import Run, finished_test, load_study, study_frame, system_names
from gadask.config import dump_config
from gadask.imports import own_command
from gadask.numerics import numeric_environment
from gadask.record import files
from gadask.record.elite_test import EliteTest
from gadask.record.frames import episode_frame
from gadask.units import error_text, number_text

Table = tuple[list[Sequence[str]], Sequence[str]]
"""Rows and header."""

MAX_ROWS = 30
"""Generations in the table of a longer run."""

_EPISODE_COLUMNS = tuple(dict.fromkeys((*length_bias.EPISODE_COLUMNS, *ancestry.EPISODE_COLUMNS)))
_PROCESS_TIME = {"busy": "busy", "discarded": "discarded", "idle": "idle or other runs"}
_CHARGED = {True: " charged for closed generations", False: " (rollout processes × time)"}
_CHILDREN = {"return": "returns", "fitness": "fitness"}


@dataclass(frozen=True)
class Arguments:
    """Report on a run, or on a study of several."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them; one run gets its own report, several one of the study."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="REPORT.html")] = None
    """HTML file to write; by default report.html in the first directory given."""
    film: bool = True
    """Show the elite play."""
    film_timeout_s: float = 120.0
    """Leave a film out that takes longer than this to make."""


def report_run(run: Run, film: bool = True, film_timeout_s: float = 120.0) -> Page:
    """Return the report of one run.

    Raises:
        RecordError: the run directory is damaged.
    """
    episodes = episode_frame(run.path, columns=_EPISODE_COLUMNS)
    test = finished_test(run.path)
    page = Page(learning_curve.describe(run))
    page.note(f"Run directory {run.path.resolve()}")
    page.table(_summary(run, test, finished_test(run.path, sticky=True)))

    page.heading("Learning curve")
    page.figure(learning_curve.plot_learning_curve(run, test, WIDTH))
    page.note(
        f"Bands are quantiles of the children's {_CHILDREN[run.measure]}. The elite's mean is the best of several noisy"
        f" ones and so too high; the elite test, {_of_what(test)}, is not."
    )
    page.table(*_generation_table(run.generations))
    if len(run.generations) > MAX_ROWS:
        page.note(f"{MAX_ROWS} of {len(run.generations):,} generations, evenly spaced.")

    if run.game in published_scores().index:
        page.heading("Scores")
        scores.add_scores(page, scores.final_scores([run]))

    page.heading("What the rollout processes did")
    page.figure(plot_process_time(run.generations, WIDTH))
    if not episodes.empty:
        closed = run.generations["generation"].tolist()
        drawn = raster.last_generations(run.generations)
        bars = episode_frame(run.path, drawn, raster.EPISODE_COLUMNS)
        if not bars.empty:
            page.figure(raster.plot_raster(bars, raster.describe(drawn, closed), WIDTH))

    add_algorithm(page, run)
    add_positions(page, run)
    if not run.is_moving:  # one line of descent, which says nothing
        page.heading("Lineage")
        page.figure(lineage.plot_lineage(ancestry.read_lineage(run.path, episodes), WIDTH))

    if not episodes.empty and not length_bias.finished_children(episodes).empty:
        page.heading("Length bias")
        population = run.config.generation.population
        closings = length_bias.first_n_closing(episodes, population, run.parents_by_return)
        page.figure(length_bias.plot_length_bias(episodes, run.generations, closings, population, WIDTH))
        page.table(*_closing_table(closings))
        page.note(
            "Resampled from this run's own children and their playing times: all processes begin at once, and the first"
            f" {population:,} to end count. Means over the generations drawn above."
        )
    if film:
        page.heading("The elite plays")
        _add_film(page, run, film_timeout_s)

    page.heading("Config")
    page.code(dump_config(run.config))
    page.heading("Made with")
    _add_provenance(page, run.path)
    return page


def report_study(runs: Sequence[Run], film: bool = True, film_timeout_s: float = 120.0) -> Page:
    """Return the report of several runs.

    Raises:
        RecordError: a run directory is damaged.
    """
    page = Page(f"Study of {len(runs)} runs")
    final = scores.final_scores(runs)
    page.heading("Learning curves")
    page.figure(curves.plot_curves(study_frame(runs), width=WIDTH))
    measures = " or ".join(dict.fromkeys(run.measure for run in runs))
    page.note(
        f"Median over seeds of the elite's mean {measures}; fewer than ten seeds are thin lines, whose range is no"
        " confidence interval, more have a band, the median's 95 % interval. That mean is the best of several noisy"
        " ones and so too high, in ga-dist's curves too. At t frames all show the elite of the generation that crosses"
        " t, the first to close at t frames or more."
    )
    page.heading("Final scores")
    scores.add_scores(page, final)
    page.heading("Runs")
    page.table(*_run_table(runs))
    page.note(
        "Busy is the share of the nodes' process time that a run's own counted episodes took. Runs of a sweep share"
        " nodes: the rest was idle, or other runs'."
    )
    if film:
        page.heading("The best of each game")
        by_path = {str(run.path): run for run in runs}
        for game, own in final.groupby("game"):
            best = by_path[own.loc[own["score"].idxmax(), "run"]]
            _add_film(page, best, film_timeout_s, f"{game}, seed {best.config.seed}: ", width=220)
    return page


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    path = arguments.out or arguments.run_dirs[0] / "report.html"
    check_suffix(path, (".html",))
    runs = load_study(arguments.run_dirs)
    options = arguments.film, arguments.film_timeout_s
    page = report_run(runs[0], *options) if len(runs) == 1 else report_study(runs, *options)
    return page.write(path)


def _of_what(test: EliteTest | None) -> str:
    """Return in words what a test is made of."""
    if test is not None and test.n_starts == 1:
        return "which is of the only episode that it can have,"
    if test is not None and test.n_starts:
        return f"which is of every start that there is, {test.n_starts} without sticky actions,"
    if test is not None and test.n_possible:
        return f"on starts that were drawn anew, at most {test.n_possible} different ones without sticky actions,"
    return "on episodes that no selection has seen"


def _tested(test: EliteTest, elite: object) -> str:
    """Return in words what a test found, of an elite that may be an earlier one."""
    of = "" if test.genome == elite else f" (elite of generation {test.generation})"
    return f"{_with_error(test.mean, test.standard_error)} over {test.episodes_text}{of}"


def _summary(run: Run, test: EliteTest | None, sticky: EliteTest | None = None) -> list[tuple[str, str]]:
    frame, config = run.generations, run.config
    last = frame.iloc[-1]
    process_s, wall_s, played = frame["process_s"].sum(), frame["wall_s"].sum(), frame["frames_played"].sum()
    n_nodes, n_processes = frame["nodes"].max(), frame["processes"].max()
    rows = [
        ("generations", f"{len(frame):,}{_budget(config.budget.generations, len(frame))}"),
        (frames_label(frame), f"{last['frames']:,}{_budget(config.budget.frames, last['frames'])}"),
        ("episodes", f"{last['episodes']:,}, {frame['failed'].sum():,} of those that counted failed"),
        ("elite", _mean(last["elite_mean"], last["elite_error"], last["elite_episodes"], "episodes that crowned it")),
    ]
    if test is not None:
        rows.append(("elite test", _tested(test, last["elite"])))
    if sticky is not None:
        rows.append(("with sticky actions", _tested(sticky, last["elite"])))
    rows += [
        (
            "time",
            f"{_duration(wall_s)}, at most {_many(n_nodes, 'node')} and {_many(n_processes, 'process', 'processes')}",
        ),
        ("core-hours", f"{_core_hours(frame)}{_CHARGED[bool(frame['core_hours'].sum())]}"),
        ("process time", ", ".join(f"{_share(frame, f'{part}_s')} {what}" for part, what in _PROCESS_TIME.items())),
        ("speed", f"{played / wall_s:,.0f} frames/s, {played / process_s:,.0f} a process"),
    ]
    return rows


def _generation_table(frame: pd.DataFrame) -> Table:
    places = np.unique(np.linspace(0, len(frame) - 1, min(len(frame), MAX_ROWS)).round().astype(int))
    header = (
        "generation", "frames", "elite", "± s.e.", "new", "median child", "best child", "steps, counted", "steps, all",
        "time", "busy",
    )  # fmt: skip
    rows: list[Sequence[str]] = [
        (
            f"{row.generation}",
            f"{row.frames:,}",
            _number(row.elite_mean),
            _number(row.elite_error),
            "yes" if row.elite_changed else "",
            _number(row.child_median),
            _number(row.child_max),
            _number(row.counted_steps),
            _number(row.all_steps),
            _duration(row.wall_s),
            f"{100 * row.busy_s / row.process_s:.0f} %" if row.process_s else "–",
        )
        for row in frame.iloc[places].itertuples()
    ]
    return rows, header


def _closing_table(closings: pd.DataFrame) -> Table:
    header = {
        "length": "mean length, counted / all",
        "parents_return": "parents' mean return",
        "parents_return_of_all": "… if length did not matter",
        "discarded_share": "discarded",
    }
    means = closings.groupby("processes").mean()
    shown = [column for column in header if column in means]
    rows: list[Sequence[str]] = []
    for n_processes, row in means.iterrows():
        cells = (_number(row[name]) if name.startswith("parents") else f"{100 * row[name]:.0f} %" for name in shown)
        rows.append((f"{n_processes:,}", *cells))
    return rows, ("processes", *(header[name] for name in shown))


def _run_table(runs: Sequence[Run]) -> Table:
    header = (
        "run", "game", "system", "seed", "generations", "frames", "elite", "elite test ± s.e.", "core-hours", "busy",
    )  # fmt: skip
    rows: list[Sequence[str]] = []
    for run, system in zip(runs, system_names(runs), strict=True):
        frame, test = run.generations, finished_test(run.path)
        last = frame.iloc[-1]
        rows.append(
            (
                run.path.name,
                run.game,
                system,
                str(run.config.seed),
                f"{len(frame):,}",
                f"{last['frames']:,}",
                _number(last["elite_mean"]),
                "–" if test is None else error_text(test.mean, test.standard_error).replace("-", "−"),
                _core_hours(frame),
                _share(frame, "busy_s"),
            )
        )
    return rows, header


def _add_film(page: Page, run: Run, timeout_s: float, before: str = "", width: int | None = None) -> None:
    """Add the elite's film, or a line that says why there is none."""
    content = files.read(run.path / "elite.gif")
    crowned = run.generations["elite_generation"].iloc[-1]
    if content is None or f"elite of generation {crowned},".encode() not in content:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "elite.gif"
            reason = _film(run, path, timeout_s)
            content = files.read(path)
        if content is None:
            page.note(f"{before}No film: {reason}")
            return
    about = content[content.index(b"elite of generation") :].partition(b"\0")[0].decode(errors="replace")
    page.picture(content, "image/gif", before + about, width)


def _add_provenance(page: Page, run_dir: Path) -> None:
    """Add what each start of the run was made with; entries are dictionaries of any age."""
    content = files.read(run_dir / "provenance.json")
    try:
        entries = json.loads(content or b"[]")
    except ValueError:
        page.note("provenance.json is damaged.")
        return
    if not entries:
        page.note("The run has no provenance.json.")
        return
    last = entries[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last.get("versions", {}).items())
    page.table(
        [
            ("started", ", ".join(entry.get("started", "?") for entry in entries)),
            ("versions", versions),
            ("commit", str(last.get("commit") or "–")),
            ("command", " ".join(last.get("command", ()))),
            ("machine", f"{last.get('host', '?')}, {last.get('system', '?')}, {last.get('cpu', {}).get('model', '?')}"),
            ("noise digest", str(last.get("noise_digest", "–"))),
        ]
    )
    if len(entries) > 1:
        page.note(f"The run was started {len(entries)} times; versions and machine are those of the last start.")


def _film(run: Run, path: Path, timeout_s: float) -> str:
    """Film the elite; returns why that did not work. The environment may hang, and start its own processes."""
    command = own_command("gadask.guard", *own_command("gadask.__main__", "film", str(run.path), "--out", str(path)))
    environ = numeric_environment()
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            errors = process.communicate(timeout=timeout_s)[1]
        except subprocess.TimeoutExpired:
            return f"it would take more than {timeout_s:g} s"
        finally:
            process.terminate()  # the guard ends what is below it
    return errors.strip().rpartition("\n")[2].removeprefix("error: ")


def _budget(limit: float | None, spent: float) -> str:
    return "" if limit is None else f" of {limit:,.0f} in the budget ({100 * spent / limit:.0f} %)"


def _mean(mean: float, error: float, n: int, what: str) -> str:
    return "none yet" if math.isnan(mean) else f"{_with_error(mean, error)} over {n} {what}"


def _with_error(mean: float, error: float) -> str:
    """Return a mean and, where it is known, its standard error."""
    return error_text(mean, error).replace("-", "−") + ("" if math.isnan(error) else " (s.e.)")


def _number(value: float) -> str:
    return number_text(value).replace("-", "−")


def _core_hours(frame: pd.DataFrame) -> str:
    """Return the core-hours that the cluster charged, or where none did those of the rollout processes."""
    charged, played = frame["core_hours"].sum(), frame["process_s"].sum() / 3600
    return f"{charged or played:,.2f}"


def _many(n: int, one: str, several: str = "") -> str:
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def _share(frame: pd.DataFrame, column: str) -> str:
    whole = frame["process_s"].sum()
    return f"{100 * frame[column].sum() / whole:.1f} %" if whole else "–"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min"
