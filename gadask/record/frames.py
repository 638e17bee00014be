"""A run as pandas frames: one row per generation or per episode; the log's nested values become flat columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gadask.record.episodes import episodes_path, read_episodes
from gadask.record.generations import frames_played, read_generations

QUANTILES = {
    "child_min": "0",
    "child_q05": "0.05",
    "child_q25": "0.25",
    "child_median": "0.5",
    "child_q75": "0.75",
    "child_q95": "0.95",
    "child_max": "1",
}
"""Columns with quantiles of the counted children's returns, and their names in the log."""

_TIMES = ("wall_s", "process_s", "busy_s", "discarded_s", "idle_s", "nodes", "processes", "elapsed_s")


def generation_frame(run_dir: Path | str) -> pd.DataFrame:
    """Return the log as a frame, one row per generation; empty where there is no log.

    Columns: `generation`; `frames`, `steps`, `episodes` of the whole run when it closed, and `frames_played` in this
    generation, which are fewer where episodes were filled from the same one; `children` and `child_mean`,
    and those of `QUANTILES`: number and returns of the counted children; `counted_steps` and `all_steps`: mean episode
    length of counted and of all children, in agent steps; `failed` episodes; `elite` (genome as text), `elite_mean`,
    `elite_error` (standard error of the mean that crowned it, where that was in this generation), `elite_episodes`,
    `elite_generation` (whose evaluation crowned it), `elite_slot` (its place among the candidates) and `elite_changed`;
    of this generation `wall_s`, `process_s`, `busy_s`, `discarded_s`, `idle_s`, `nodes`, `processes`, and `core_hours`
    that a cluster charged; `elapsed_s` of the whole run, over all restarts. NaN, −1 or None where there is no such
    value.
    """
    return frame_of_rows(map(generation_row, read_generations(run_dir)))


def frame_of_rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return what `generation_frame` does, from what `generation_row` made of the log's lines, oldest first."""
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    elite = frame["elite"].ffill()
    changed = frame["elite"].notna() & elite.shift().notna() & (frame["elite"] != elite.shift())
    floats = ["child_mean", *QUANTILES, "counted_steps", "all_steps", "elite_mean", "elite_error"]
    return frame.assign(elite_changed=changed).astype(dict.fromkeys(floats, np.float64))


def generation_row(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the log as a row of `generation_frame`, which adds `elite_changed`."""
    children, lengths, elite, timing = line["children"], line["lengths"], line["elite"], line["timing"]
    genome = elite and elite["genome"]
    candidates = {candidate["genome"]: (slot, candidate) for slot, candidate in enumerate(line["candidates"])}
    elite_slot, crowned = candidates.get(genome, (-1, {}))
    return {
        "generation": line["generation"],
        **{name: line["total"][name] for name in ("frames", "steps", "episodes")},
        "frames_played": frames_played(line),
        "children": children["n"],
        "child_mean": children["mean"],
        **{column: children["quantiles"].get(name) for column, name in QUANTILES.items()},
        "counted_steps": lengths["counted"]["mean"],
        "all_steps": lengths["all"]["mean"],
        "failed": sum(line["failed"].values()),
        "elite": genome,
        "elite_mean": elite and elite["mean"],
        "elite_error": crowned.get("standard_error"),
        "elite_episodes": elite["episodes"] if elite else 0,
        "elite_generation": elite["generation"] if elite else -1,
        "elite_slot": elite_slot,
        **{name: timing[name] for name in _TIMES},
        "core_hours": timing.get("core_hours", 0.0),  # runs from before gadask kept accounts have none
    }


def episode_frame(
    run_dir: Path | str, generations: Sequence[int] | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return episodes as a frame, one row per episode: of all closed generations, or of those given.

    Columns are those of `gadask.record.episodes.episode_table`, or those given, and `recorded_in`, the generation in
    whose file the row stands: with `late = "admit"` it can be later than the row's own. `weight` is NaN in files of
    earlier versions, which do not have it. A generation without a file is left out.

    Raises:
        RecordError: a file is damaged.
    """
    run_dir = Path(run_dir)
    if generations is None:
        generations = [line["generation"] for line in read_generations(run_dir)]
    present = [number for number in generations if episodes_path(run_dir, number).exists()]
    tables = []
    for number in present:
        table = read_episodes(run_dir, number)
        if "weight" not in table.column_names:
            table = table.append_column("weight", pa.nulls(len(table), pa.float64()))
        table = table if columns is None else table.select(list(columns))
        recorded_in = pa.array(np.full(len(table), number, np.int32))
        tables.append(table.append_column("recorded_in", recorded_in))
    if not tables:
        return pd.DataFrame()
    joined = pa.concat_tables(tables, promote_options="default")  # of two versions in another order
    return joined.unify_dictionaries().to_pandas(self_destruct=True)
