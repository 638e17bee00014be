"""What a report says of one run: in a line, in a table, and generation by generation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from gadask.analysis.figures import frames_label
from gadask.analysis.runs import Run
from gadask.analysis.wording import UNKNOWN, core_hours, duration, mean_over, number, share
from gadask.master.budget import budget_share, limit_reached
from gadask.record.elite_test import EliteTest
from gadask.record.generations import cpu_shares
from gadask.units import many

Table = tuple[list[Sequence[str]], Sequence[str]]
"""Rows and header."""

MAX_ROWS = 30
"""Generations in the table of a longer run."""

_ALGORITHMS = {
    "truncation": "Truncation selection",
    "novelty": "Novelty search",
    "openai-es": "OpenAI-ES",
    "random-search": "Random search",
}
_PROCESS_TIME = {"busy": "busy", "discarded": "discarded", "idle": "idle or other runs"}
_CHARGED = {True: " charged for closed generations", False: " (rollout processes × time)"}


def lead(run: Run, test: EliteTest | None) -> str:
    """Return what a run is, whether it is finished, its best result and its cost, in a line."""
    frame, kind = run.generations, run.config.algorithm.kind
    preset = "" if run.config.preset == "none" else f", preset {run.config.preset}"
    time = duration(frame["elapsed_s"].iloc[-1])
    cost = f"{time} of play on {many(frame['processes'].max(), 'process', 'processes')}, {core_hours(frame)} core-hours"
    return f"{_ALGORITHMS.get(kind, kind)}{preset}. {standing(run)}. {_best(run, test)}. Cost: {cost}."


def is_finished(run: Run) -> bool:
    """Whether a run has reached a limit of its budget."""
    return _limit(run) is not None


def standing(run: Run) -> str:
    """Return whether a run is finished, and by which limit, in words."""
    budget, frame, limit = run.config.budget, run.generations, _limit(run)
    n = many(len(frame), "generation")
    if limit is None:
        done = budget_share(budget, len(frame), frame["frames"].iloc[-1], frame["elapsed_s"].iloc[-1])
        return f"Not finished: {n} so far" + ("" if done is None else f", {100 * done:.0f} % of its budget")
    reached = {
        "generations": ", its budget",
        "frames": f": its budget of {budget.frames or 0:,.0f} {frames_label(frame)} is spent",
        "hours": f": its budget of {budget.hours or 0:g} hours is spent",
        "elite_mean": f": its elite reached {number(budget.elite_mean or 0)}",
    }
    return f"Finished after {n}{reached[limit]}"


def summary(run: Run, test: EliteTest | None, sticky: EliteTest | None = None) -> list[tuple[str, str]]:
    """Return what a run reached and took, a row each."""
    frame, budget = run.generations, run.config.budget
    last = frame.iloc[-1]
    process_s, wall_s, played = frame["process_s"].sum(), frame["wall_s"].sum(), frame["frames_played"].sum()
    failed = frame["failed"].sum()
    rows = [
        ("generations", f"{len(frame):,}{_budget(budget.generations, len(frame))}"),
        (frames_label(frame), f"{last['frames']:,}{_budget(budget.frames, last['frames'])}"),
        ("episodes", f"{last['episodes']:,}" + (f", {failed:,} of those that counted failed" if failed else "")),
        ("elite", _crowned(frame)),
    ]
    if test is not None:
        rows.append(("elite test", _tested(test, last["elite"])))
    if sticky is not None:
        rows.append(("with sticky actions", _tested(sticky, last["elite"])))
    if cpus := cpu_shares(run.path):
        rows.append(("episodes by processor", f"{cpus}; they may round differently"))
    processes = many(frame["processes"].max(), "process", "processes")
    parts = [(share(frame, f"{part}_s"), what) for part, what in _PROCESS_TIME.items()]
    return [
        *rows,
        ("time", f"{duration(wall_s)}, at most {many(frame['nodes'].max(), 'node')} and {processes}"),
        ("core-hours", f"{core_hours(frame)}{_CHARGED[bool(frame['core_hours'].sum())]}"),
        ("process time", ", ".join(f"{of} {what}" for of, what in parts if of != "0.0 %")),
        ("speed", f"{played / wall_s:,.0f} frames/s, {played / process_s:,.0f} a process"),
    ]


def generation_table(frame: pd.DataFrame) -> Table:
    """Return one row per generation, of many those evenly spaced; columns that say nothing are left out."""
    places = np.unique(np.linspace(0, len(frame) - 1, min(len(frame), MAX_ROWS)).round().astype(int))
    shown = frame.iloc[places]
    one_length = (shown["counted_steps"].fillna(-1) == shown["all_steps"].fillna(-1)).all()
    columns = {
        "generation": [str(n) for n in shown["generation"]],
        "frames": [f"{n:,}" for n in shown["frames"]],
        "elite": [number(mean) for mean in shown["elite_mean"]],
        "± standard error": [number(error) for error in shown["elite_error"]],
        "new": ["yes" if changed else "" for changed in shown["elite_changed"]],
        "median child": [number(value) for value in shown["child_median"]],
        "best child": [number(value) for value in shown["child_max"]],
        "steps" if one_length else "steps, counted": [number(steps) for steps in shown["counted_steps"]],
        "steps, all": [] if one_length else [number(steps) for steps in shown["all_steps"]],
        "time": [duration(wall_s) for wall_s in shown["wall_s"]],
        "busy": [
            f"{100 * busy_s / process_s:.0f} %" if process_s else UNKNOWN
            for busy_s, process_s in zip(shown["busy_s"], shown["process_s"], strict=True)
        ],
    }
    told = {name: cells for name, cells in columns.items() if set(cells) - {"", UNKNOWN}}
    return list(zip(*told.values(), strict=True)), tuple(told)


def curve_note(run: Run, test: EliteTest | None) -> str:
    """Return what is to be known of a run's learning curve and its generations."""
    frame, exact = run.generations, test is not None and test.n_starts == 1
    children = {"return": "returns", "fitness": "fitness"}[run.measure]
    text = f"Bands are quantiles of the children's {children}."
    if frame["elite_mean"].isna().all():
        return text
    if frame["elite_error"].notna().any():
        text += " The elite's standard error is over the episodes that crowned it."
    if exact:
        return f"{text} The elite has only one episode: its mean is exact."
    text += " The elite's mean is the best of several noisy ones and so tends to be too high"
    return f"{text}." if test is None else f"{text}; the elite test, {_of_what(test)} is not."


def _limit(run: Run) -> str | None:
    frame = run.generations
    last = frame.iloc[-1]
    return limit_reached(run.config.budget, len(frame), last["frames"], last["elapsed_s"], last["elite_mean"])


def _best(run: Run, test: EliteTest | None) -> str:
    frame = run.generations
    if test is not None and test.genome == frame["elite"].iloc[-1]:
        return f"Best result: {_tested(test, test.genome)}"
    crowned = _crowned(frame)
    return "No elite yet" if crowned == _NONE else f"Best result, not tested: {crowned}"


_NONE = "none yet"


def _crowned(frame: pd.DataFrame) -> str:
    """Return the mean that crowned the last elite, in words."""
    last = frame.iloc[-1]
    if math.isnan(last["elite_mean"]):
        return _NONE
    errors = frame.loc[frame["generation"] == last["elite_generation"], "elite_error"]
    error = float(errors.iloc[0]) if len(errors) else math.nan
    n = last["elite_episodes"]
    return f"{mean_over(last['elite_mean'], error, 'the episode' if n == 1 else f'the {n} episodes')} that crowned it"


def _tested(test: EliteTest, elite: object) -> str:
    """Return in words what a test found, of an elite that may be an earlier one."""
    of = "" if test.genome == elite else f" (elite of generation {test.generation})"
    return f"{mean_over(test.mean, test.standard_error, test.episodes_text)}{of}"


def _of_what(test: EliteTest) -> str:
    """Return in words what a test is made of."""
    if test.n_starts:
        return f"which is of every start that there is, {test.n_starts} without sticky actions,"
    if test.n_possible:
        return f"on starts that were drawn anew, at most {test.n_possible} different ones without sticky actions,"
    return "on episodes that no selection has seen,"


def _budget(limit: float | None, spent: float) -> str:
    return "" if limit is None else f" of {limit:,.0f} in the budget ({100 * spent / limit:.0f} %)"
