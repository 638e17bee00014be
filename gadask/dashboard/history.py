"""What the scheduler remembers of the runs that report to it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from gadask.dashboard.events import MAX_PLACES, TOPIC

PLUGIN_NAME = "gadask-history"

_MAX_GENERATIONS = 1000
_MAX_NODE_COUNTS = 1000
_MAX_RUNS = 200


@dataclass
class RunHistory:
    """One run, as its master reported it."""

    number: int
    """Counts the runs in order of start."""
    name: str
    env: str
    unit: str
    """`frames` or `steps`: what its amounts are counted in."""
    policy: str
    closing: str
    generations: list[dict[str, Any]] = field(default_factory=list)
    """Entries as `events.generation_entry` makes them, oldest first; every other is dropped when they are too many."""
    places: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_PLACES))
    """Entries of the last generations that have places, as `events.places_entry` makes them, oldest first."""
    archive: list[list[float]] = field(default_factory=list)
    """Newest places that its algorithm remembers, oldest first."""
    n_closed: int = 0
    """Generations that were closed since it started."""
    progress: dict[str, Any] | None = None
    """The last report."""
    node_counts: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_MAX_NODE_COUNTS))
    """Unix time in seconds and number of nodes, whenever that number changed; oldest first."""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What it had of each node's process time in its last generation, by address; as `events.node_entry`."""
    heard_at_s: float = field(default_factory=time.time)
    """Unix time on the scheduler at which its master last reported."""
    ended: str | None = None
    """Why it ended, empty where it reached its budget; None while it goes on."""


class History(SchedulerPlugin):  # type: ignore[misc]
    """Keeps what masters report; lives on the scheduler, so that it is there whenever a page is opened."""

    name = PLUGIN_NAME

    def __init__(self) -> None:
        """Start without runs."""
        self.runs: dict[str, RunHistory] = {}
        """By run id, in order of start; a run that ends goes behind all others."""
        self._n_started = 0

    def log_event(self, topic: str, msg: Any) -> None:
        """Take an event; whatever else is on the topic, or malformed, is left out."""
        if topic == TOPIC and isinstance(msg, dict):
            with contextlib.suppress(KeyError, TypeError):  # a master of another version must not disturb the scheduler
                self._take(msg)

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "run":
            run = RunHistory(
                self._n_started,
                event["name"],
                event["env"],
                event["unit"],
                event["policy"],
                event["closing"],
                list(event["generations"]),
            )
            run.places.extend(filter(_is_filled, event["places"]))
            run.archive = event["archive"]
            self.runs[event["run"]] = run
            self._n_started += 1
            if len(self.runs) > _MAX_RUNS:
                ended = (key for key, run in self.runs.items() if run.ended is not None)
                del self.runs[next(ended, next(iter(self.runs)))]
            return
        run = self.runs[event["run"]]
        run.heard_at_s = time.time()
        match event["type"]:
            case "progress":
                if not run.node_counts or run.node_counts[-1][1] != event["nodes"]:
                    run.node_counts.append((event["time_s"], event["nodes"]))
                run.progress = event
            case "generation":
                run.places.extend(filter(_is_filled, [event["places"]]))
                run.archive = event["archive"]
                run.generations.append(event["generation"])
                run.nodes = event["nodes"]
                run.n_closed += 1
                if len(run.generations) > _MAX_GENERATIONS:
                    run.generations = run.generations[::-2][::-1]  # the last one stays
            case "end":
                run.ended = event["reason"]
                self.runs[event["run"]] = self.runs.pop(event["run"])


def history_of(scheduler: Scheduler) -> History:
    """Return the scheduler's history; the first call starts it."""
    history = scheduler.plugins.get(PLUGIN_NAME)
    if history is None:
        history = History()
        scheduler.add_plugin(history)
        for _, message in _past(scheduler):
            history.log_event(TOPIC, message)
    return history  # type: ignore[no-any-return]


def _is_filled(places: dict[str, Any]) -> bool:
    return any(places.values())


def _past(scheduler: Scheduler) -> Iterable[tuple[float, Any]]:
    """Return what was logged on the topic before the history began."""
    return tuple(scheduler.get_events(TOPIC))
