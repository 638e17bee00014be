"""What masters report to the dashboard, as small as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gadask.config import Config
from gadask.dashboard import events
from gadask.dashboard.history import History

NODE = "tls://10.0.0.1:4000"


def line(number: int, elite: float | None = 100.0) -> dict[str, Any]:
    """A line of the log, with what the page reads."""
    return {
        "generation": number,
        "timing": {"elapsed_s": 60.0 * (number + 1), "wall_s": 60.0, "processes": 62, "played": {"frames": 1_500_000}},
        "elite": None if elite is None else {"genome": "1-2", "mean": elite},
        "candidates": [{"genome": "1-2", "mean": elite, "standard_error": 5.0, "episodes": 30}],
        "lengths": {"counted": {"mean": 600.0}, "all": {"mean": 650.0}},
        "total": {"frames": 2_000_000 * (number + 1)},
        "frames": 2_000_000,
        "children": {"quantiles": {"0": 0.0, "0.05": 1.0, "0.25": 2.0, "0.5": 3.0, "0.75": 4.0, "0.95": 5.0, "1": 6.0}},
    }


def start(run: str = "a", n_past: int = 0) -> events.Event:
    return events.run_event(run, Path(f"/runs/frostbite-{run}"), Config(), [line(i) for i in range(n_past)], ())


def close(
    number: int, run: str = "a", busy_s: float = 50.0, discarded_s: float = 4.0, behaviour: Sequence[float] = (),
    archive: Sequence[tuple[float, ...]] = (),
) -> events.Event:  # fmt: skip
    """Return a generation of a minute, on one node; the times are of each of its processes.

    Its two next parents and its candidate have this behaviour, if one is given, but for the second parent's, which is
    not known.
    """
    node = events.node_entry("cpu-e-1", 31, 60.0, busy_s=31 * busy_s, discarded_s=31 * discarded_s)
    closed = line(number)
    if behaviour:
        closed["next_parents_behaviour"] = [list(behaviour), None]
        closed["candidates"][0]["behaviour"] = list(behaviour)
    return events.generation_event(run, number, closed, archive, {NODE: node})


def report(generation: int, run: str = "a", nodes: int = 2) -> events.Event:
    return events.progress_event(
        run, generation=generation, n_counted=411, n_wanted=1300, best=240.0, frames=2_500_000, elapsed_s=75.0,
        budget_share=0.25, time_left_s=225.0, nodes=nodes, processes=31 * nodes,
    )  # fmt: skip


def taken(*messages: Any) -> History:
    history = History()
    for message in messages:
        history.log_event(events.TOPIC, message)
    return history
