"""Report on a run or a study in one HTML page that opens offline: `gadask report RUN_DIR … [--out FILE]`.

For one run: a line on what it is, whether it is finished, what it reached and what it cost; a film and the learning
curve; generations; and, where there is something to say, comparison with published scores, what its processes did, how
its algorithm stands, where episodes ended, the family of its elite and the bias towards short episodes; its config and
the versions it was made with. For several: learning curves, films of the best run of each task, scores, costs, what
varies and what is the same. The report also covers the closed generations of runs that are going on or were killed.
Large runs are thinned for drawing, and the page says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import tomli_w
import tyro

from gadask.analysis import ancestry, curves, learning_curve, length_bias, lineage, raster, scores, study_facts
from gadask.analysis.algorithm_panels import add_algorithm
from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import check_suffix
from gadask.analysis.intervals import MIN_SEEDS
from gadask.analysis.made_with import add_provenance, add_study_provenance
from gadask.analysis.page import WIDTH, Page
from gadask.analysis.positions import add_positions
from gadask.analysis.process_time import plot_process_time
from gadask.analysis.published import ga_dist_curves, published_scores
from gadask.analysis.report_film import EliteFilm, elite_film
from gadask.analysis.run_facts import MAX_ROWS, Table, curve_note, generation_table, lead, summary
from gadask.analysis.runs import Run, find_runs, finished_test, load_study, own_tables, study_frame
from gadask.analysis.wording import number
from gadask.record.frames import episode_frame

_EPISODE_COLUMNS = tuple(dict.fromkeys((*length_bias.EPISODE_COLUMNS, *ancestry.EPISODE_COLUMNS)))
_FILM_WIDTH = 260  # pixels, in a study


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
    """Leave out a film that takes longer than this to make."""


def report_run(run: Run, film: bool = True, film_timeout_s: float = 120.0) -> Page:
    """Return the report of one run.

    Raises:
        RecordError: the run directory is damaged.
    """
    frame, test = run.generations, finished_test(run.path)
    shown = elite_film(run, film_timeout_s) if film else None
    page = Page(learning_curve.describe(run))
    page.lead(lead(run, test))
    with page.block("beside") if shown and shown.content else nullcontext():
        _add_film(page, shown)
        page.figure(learning_curve.plot_learning_curve(run, test, WIDTH))
    page.note(curve_note(run, test))
    page.facts(summary(run, test, finished_test(run.path, sticky=True)))

    page.heading("Generations")
    page.table(*generation_table(frame))
    if len(frame) > MAX_ROWS:
        page.note(f"{MAX_ROWS} of {len(frame):,} generations, evenly spaced.")

    final = scores.final_scores([run])
    if len(final) and _is_published([run]):
        page.heading("Scores")
        scores.add_scores(page, final)

    episodes = episode_frame(run.path, columns=_EPISODE_COLUMNS)
    _add_processes(page, run)
    add_algorithm(page, run)
    add_positions(page, run)
    _add_lineage(page, run, episodes)
    _add_length_bias(page, run, episodes)

    page.heading("Config")
    page.code(tomli_w.dumps(own_tables(run.config)))
    page.heading("Made with")
    add_provenance(page, run.path)
    return page


def report_study(
    runs: Sequence[Run], film: bool = True, film_timeout_s: float = 120.0, left_out: Sequence[Path] = ()
) -> Page:
    """Return the report of several runs; `left_out` are those without a closed generation.

    Raises:
        RecordError: a run directory is damaged.
    """
    page = Page(study_facts.title(runs))
    final = scores.final_scores(runs)
    page.lead(study_facts.lead(runs, final))
    if left_out:
        page.note(f"Without a closed generation, and so left out: {', '.join(path.name for path in left_out)}.")
    if len(final):
        _add_curves(page, runs)
        if film:
            _add_best(page, runs, final, film_timeout_s)
        if _is_published(runs) or final["system"].nunique() > 1 or final["seed"].nunique() > 1:
            page.heading("Final scores")
            scores.add_scores(page, final)
    else:
        page.note("No run has an elite yet.")
    page.heading("Runs")
    rows, header = study_facts.run_table(runs)
    page.table(rows, header)
    of_test = " The standard error is that of the test's mean." if study_facts.ERROR in header else ""
    page.note(
        f"The elite's mean is that which crowned it, the best of several noisy ones, which tends to be too high."
        f"{of_test} Busy is"
        " the share of the nodes' process time that a run's own counted episodes took. Runs of a sweep share nodes: the"
        " rest was idle, or other runs'."
    )
    if varied := study_facts.varied_settings(runs):
        page.heading("What varies")
        page.facts(varied)
    page.heading("What all runs have in common")
    page.code(study_facts.common_toml(runs))
    page.heading("Made with")
    add_study_provenance(page, runs)
    return page


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    path = arguments.out or arguments.run_dirs[0] / "report.html"
    check_suffix(path, (".html",))
    found, runs = find_runs(arguments.run_dirs), load_study(arguments.run_dirs)
    options = arguments.film, arguments.film_timeout_s
    if len(found) == 1:
        return report_run(runs[0], *options).write(path)
    loaded = {run.path for run in runs}
    return report_study(runs, *options, [path for path in found if path not in loaded]).write(path)


def _is_published(runs: Sequence[Run]) -> bool:
    """Whether published scores say something about one of the runs: they are mean returns."""
    known = published_scores().index
    return any(run.game in known and run.measure == "return" for run in runs)


def _add_film(page: Page, film: EliteFilm | None, before: str = "", width: int | None = None) -> None:
    if film is not None and film.content is not None:
        page.picture(film.content, "image/gif", before + film.caption, width)
    elif film is not None:
        page.note(before + film.caption)


def _add_processes(page: Page, run: Run) -> None:
    """Show what the processes of several nodes did; of one node the summary says it all."""
    if run.generations["nodes"].max() < 2:
        return
    page.heading("What the rollout processes did")
    page.figure(plot_process_time(run.generations, WIDTH))
    closed = run.generations["generation"].tolist()
    drawn = raster.last_generations(run.generations)
    bars = episode_frame(run.path, drawn, raster.EPISODE_COLUMNS)
    if not bars.empty:
        page.figure(raster.plot_raster(bars, raster.describe(drawn, closed), WIDTH))


def _add_lineage(page: Page, run: Run, episodes: pd.DataFrame) -> None:
    """Show the family, where there is one: founders alone, or one line of descent, say nothing."""
    if run.is_moving:
        return
    family = ancestry.read_lineage(run.path, episodes)
    if (family.genomes["parent"] != ancestry.NONE).any():
        page.heading("Lineage")
        page.figure(lineage.plot_lineage(family, WIDTH))


def _add_length_bias(page: Page, run: Run, episodes: pd.DataFrame) -> None:
    """Show the bias that a run closed at its first results has, or that one on several nodes would have had."""
    settings = run.config.generation
    if episodes.empty or (settings.closing == "all" and run.generations["nodes"].max() < 2):
        return
    if length_bias.finished_children(episodes)["steps"].nunique() < 2:  # nobody is favoured
        return
    page.heading("Length bias")
    closings = length_bias.first_n_closing(episodes, settings.population, run.parents_by_return)
    page.figure(length_bias.plot_length_bias(episodes, run.generations, closings, settings.population, WIDTH))
    page.table(*_closing_table(closings))
    page.note(
        "Resampled from this run's own children and their playing times: all processes begin at once, and the first"
        f" {settings.population:,} to end count. Means over the generations drawn above."
    )


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
        cells = (number(row[name]) if name.startswith("parents") else f"{100 * row[name]:.0f} %" for name in shown)
        rows.append((f"{n_processes:,}", *cells))
    return rows, ("processes", *(header[name] for name in shown))


def _add_curves(page: Page, runs: Sequence[Run]) -> None:
    page.figure(curves.plot_curves(study_frame(runs), width=WIDTH))
    measures = " or ".join(dict.fromkeys(run.measure for run in runs))
    median = ""
    if study_facts.n_seeds(runs) >= MIN_SEEDS:
        median = "Median over seeds, with its 95 % interval. "
    elif study_facts.n_seeds(runs) > 1:
        median = "Median over seeds; thin lines are seeds, whose range is no confidence interval. "
    text = f"{median}The elite's mean {measures} is the best of several noisy ones and so tends to be too high"
    if {run.game for run in runs} & set(ga_dist_curves()["game"]):  # the legend says where curves cross
        page.note(f"{text}, in ga-dist's curves too.")
    else:
        page.note(f"{text}. At t frames it is that of the first generation to close at t frames or more.")


def _add_best(page: Page, runs: Sequence[Run], final: pd.DataFrame, timeout_s: float) -> None:
    """Show the best run of each task play."""
    by_path = {str(run.path): run for run in runs}
    page.heading("The best of each task")
    with page.block("films"):
        for game, own in final.groupby("game"):
            best = by_path[own.loc[own["score"].idxmax(), "run"]]
            name = f"{game}, seed {best.config.seed}: "
            _add_film(page, elite_film(best, timeout_s), name, _FILM_WIDTH)
