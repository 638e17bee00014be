"""What a master reports to the scheduler: plain dictionaries that msgpack can carry.

| `type` | when | fields beside `run` |
| --- | --- | --- |
| `run` | a run starts | `name`, `env`, `unit`, `policy`, `closing`; past `generations`, `places`, `archive` |
| `progress` | about once a second, whether results arrive or not | where the run stands in the middle of a generation |
| `generation` | a generation closes | `generation`, `places`, `archive`: as in `run`; `nodes`: process time by node |
| `end` | the run ends | `reason`: empty where the budget was reached |

`run` is the run's id, new at each start; `name` is its directory's name. `unit` is what its amounts are counted in:
`frames` of Atari's emulator, `steps` of any other task. Times are Unix times in seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gadask.algorithms.algorithm import Behaviour
from gadask.config import Config
from gadask.record.generations import frames_played

TOPIC = "gadask"
PAGE = "ga"
"""The page that shows them, below the dashboard's address."""

MAX_PLACES = 40
"""Generations whose places are reported and kept."""

_MAX_PAST = 500
"""Generations that a resumed run reports at its start; older ones are thinned out."""
_MAX_POINTS = 100
"""Parents, and candidates, of one generation whose places are reported, the best ones first."""
_MAX_ARCHIVED = 500
"""Archived behaviours that are reported, the newest ones."""

Event = dict[str, Any]


def run_event(
    run_id: str, run_dir: Path, config: Config, log: Sequence[Mapping[str, Any]], archive: Sequence[Behaviour]
) -> Event:
    """Return the event of a run that starts.

    `log` holds the lines of the generations recorded before, `archive` what its algorithm remembers of them.
    """
    step = math.ceil(len(log) / _MAX_PAST) if log else 1
    kept = [line for line in log if (len(log) - 1 - int(line["generation"])) % step == 0]
    return {
        "type": "run",
        "run": run_id,
        "name": run_dir.absolute().name,
        "env": config.env.id,
        "unit": config.env.unit,
        "policy": config.policy.kind,
        "closing": config.generation.closing,
        "generations": [generation_entry(int(line["generation"]), line) for line in kept],
        "places": [places_entry(line) for line in log[-MAX_PLACES:]],
        "archive": _places(archive[-_MAX_ARCHIVED:]),
    }


def generation_event(
    run_id: str, number: int, line: Mapping[str, Any], archive: Sequence[Behaviour],
    nodes: Mapping[str, Mapping[str, Any]],
) -> Event:  # fmt: skip
    """Return the event of a closed generation.

    `line` is as in the log, `archive` what the algorithm remembers, `nodes` as `node_entry` makes them, by address.
    """
    return {
        "type": "generation",
        "run": run_id,
        "generation": generation_entry(number, line),
        "places": places_entry(line),
        "archive": _places(archive[-_MAX_ARCHIVED:]),
        "nodes": dict(nodes),
    }


def generation_entry(number: int, line: Mapping[str, Any]) -> Event:
    """Return what the page shows of a generation: returns, lengths in agent steps, times in seconds.

    `frames` are those of the whole run, filled in or played; `frames_per_s` counts those that were played.
    """
    timing, elite = line["timing"], line["elite"] or {}
    errors = {one["genome"]: one.get("standard_error") for one in line["candidates"]}
    lengths = line["lengths"]
    return {
        "number": number,
        "frames": line["total"]["frames"],
        "elapsed_s": timing["elapsed_s"],
        "quantiles": line["children"]["quantiles"],
        "elite": elite.get("mean"),
        "elite_error": errors.get(elite.get("genome")),
        "steps_counted": lengths["counted"]["mean"],
        "steps_all": lengths["all"]["mean"],
        "wall_s": timing["wall_s"],
        "frames_per_s": frames_played(line) / timing["wall_s"] if timing["wall_s"] else 0.0,
        "processes": timing["processes"],
    }


def places_entry(line: Mapping[str, Any]) -> Event:
    """Return the behaviours of next parents, candidates and elite as places, x and y; none of other lengths.

    The elite has one where it was among the candidates.
    """
    elite = (line["elite"] or {}).get("genome")
    behaviours = {
        "parents": line.get("next_parents_behaviour", ()),
        "candidates": [candidate.get("behaviour") for candidate in line["candidates"]],
        "elite": [candidate.get("behaviour") for candidate in line["candidates"] if candidate["genome"] == elite],
    }
    return {kind: _places(found[:_MAX_POINTS]) for kind, found in behaviours.items()}


def node_entry(host: str, processes: int, wall_s: float, busy_s: float, discarded_s: float) -> Event:
    """Return what one run had of one node's process time in one generation, in seconds.

    What is left of `process_s` was idle, or other runs' on the same node.
    """
    process_s = processes * wall_s
    return {
        "host": host,
        "processes": processes,
        "process_s": process_s,
        "busy_s": busy_s,
        "discarded_s": discarded_s,
    }


def progress_event(
    run_id: str, *, generation: int, n_counted: int, n_wanted: int, best: float, frames: int, elapsed_s: float,
    budget_share: float | None, time_left_s: float | None, nodes: int, processes: int,
) -> Event:  # fmt: skip
    """Return where a run stands; `budget_share` is the part of its budget that is used, None without a limit.

    `time_left_s` is how long the rest takes, None where that is not known.
    """
    return {
        "type": "progress",
        "run": run_id,
        "time_s": time.time(),
        "generation": generation,
        "n_counted": n_counted,
        "n_wanted": n_wanted,
        "best": float(best) if math.isfinite(best) else None,
        "frames": frames,
        "elapsed_s": elapsed_s,
        "budget_share": budget_share,
        "time_left_s": time_left_s,
        "nodes": nodes,
        "processes": processes,
    }


def end_event(run_id: str, reason: str) -> Event:
    """Return the event of a run that ended; `reason` is empty where it reached its budget."""
    return {"type": "end", "run": run_id, "reason": reason}


def _places(behaviours: Iterable[Sequence[float] | None]) -> list[list[float]]:
    """Return those behaviours that are places: of two numbers."""
    return [list(place) for place in behaviours if place is not None and len(place) == 2]
