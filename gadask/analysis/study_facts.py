"""What a report says of a study: in a line, run by run, and which settings its runs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import tomli_w

from gadask.analysis.run_facts import Table, is_finished
from gadask.analysis.runs import Run, finished_test, own_tables, system_names
from gadask.analysis.wording import UNKNOWN, core_hours, duration, number, share
from gadask.config import own_settings
from gadask.units import many

ERROR = "± standard error"
"""Column of `run_table`: of the mean of the elite's test."""

_MAX_NAMED = 4  # tasks in a line


def title(runs: Sequence[Run]) -> str:
    """Return a study's name, that of the folder which holds its runs, or how many runs they are."""
    folders = {run.path.resolve().parent for run in runs}
    return f"Study {folders.pop().name}" if len(folders) == 1 else f"Study of {many(len(runs), 'run')}"


def lead(runs: Sequence[Run], scores: pd.DataFrame) -> str:
    """Return what a study is, how much of it is finished, its scores and its cost, in a line.

    `scores` as `final_scores` returns them. Scores of several settings are left to the table that compares them.
    """
    systems = len(set(system_names(runs)))
    parts = [many(len({run.game for run in runs}), "task"), many(n_seeds(runs), "seed")]
    parts += [many(systems, "setting")] if systems > 1 else []
    n_finished = sum(map(is_finished, runs))
    finished = "all finished" if n_finished == len(runs) else f"{n_finished} finished"
    whole = pd.concat([run.generations for run in runs])
    played_s = sum(run.generations["elapsed_s"].iloc[-1] for run in runs)
    medians = [f"{game} {number(score)}" for game, score in scores.groupby("game")["score"].median().items()]
    named = "Median over seeds" if n_seeds(runs) > 1 else "Score"
    reached = f" {named}: {', '.join(medians)}." if systems == 1 and 0 < len(medians) <= _MAX_NAMED else ""
    return (
        f"{many(len(runs), 'run')}, {', '.join(parts)}; {finished}.{reached}"
        f" Cost: {core_hours(whole)} core-hours; the runs' times of play add up to {duration(played_s)}."
    )


def n_seeds(runs: Sequence[Run]) -> int:
    """Return how many seeds a study has."""
    return len({run.config.seed for run in runs})


def run_table(runs: Sequence[Run]) -> Table:
    """Return one row per run; columns that are the same for all, or say nothing, are left out."""
    tests = [finished_test(run.path) for run in runs]
    lasts = [run.generations.iloc[-1] for run in runs]
    columns = {
        "run": [run.path.name for run in runs],
        "task": [run.game for run in runs],
        "setting": system_names(runs),
        "seed": [str(run.config.seed) for run in runs],
        "generations": [f"{len(run.generations):,}" for run in runs],
        "frames": [f"{last['frames']:,}" for last in lasts],
        "elite": [number(last["elite_mean"]) for last in lasts],
        "elite test": [UNKNOWN if test is None else number(test.mean) for test in tests],
        ERROR: [UNKNOWN if test is None else number(test.standard_error) for test in tests],
        "test of": [UNKNOWN if test is None else test.episodes_text for test in tests],
        "core-hours": [core_hours(run.generations) for run in runs],
        "busy": [share(run.generations, "busy_s") for run in runs],
        "finished": ["yes" if is_finished(run) else "no" for run in runs],
    }
    told = {
        name: cells
        for name, cells in columns.items()
        if set(cells) - {UNKNOWN} and not (name == "setting" and len(set(cells)) == 1)
    }
    return list(zip(*told.values(), strict=True)), tuple(told)


def varied_settings(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return the settings in which runs differ, and their values in the order of the runs."""
    flat = [own_settings(run.config) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    values = {key: dict.fromkeys(_text(settings, key) for settings in flat) for key in keys}
    return [(key, ", ".join(of)) for key, of in values.items() if len(of) > 1]


def common_toml(runs: Sequence[Run]) -> str:
    """Return as TOML the settings that all runs share."""
    return tomli_w.dumps(_common([own_tables(run.config) for run in runs]))


def _common(tables: list[dict[str, Any]]) -> dict[str, Any]:
    shared: dict[str, Any] = {}
    for key, value in tables[0].items():
        others = [table.get(key) for table in tables]
        if isinstance(value, dict) and all(isinstance(other, dict) for other in others):
            if table := _common([other for other in others if other is not None]):
                shared[key] = table
        elif all(other == value for other in others):
            shared[key] = value
    return shared


def _text(settings: dict[str, Any], key: str) -> str:
    return str(settings[key]) if key in settings else "none"
