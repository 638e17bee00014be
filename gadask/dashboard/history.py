"""What the scheduler remembers of the runs that report to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from gadask.dashboard.events import TOPIC

PLUGIN_NAME = "gadask-history"

_MAX_GENERATIONS = 1000
_MAX_PROGRESS = 3600
_MAX_RUNS = 200


@dataclass
class RunHistory:
    """One run, as its master reported it."""

    name: str
    env: str
    policy: str
    closing: str
    generations: list[dict[str, Any]] = field(default_factory=list)
    """Entries as `events.generation_entry` makes them, oldest first; every other is dropped when they are too many."""
    progress: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_MAX_PROGRESS))
    """The last reports, oldest first."""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Process time by node in the last generation."""
    ended: str | None = None
    """Why it ended, empty where it reached its budget; None while it goes on."""


class History(SchedulerPlugin):  # type: ignore[misc]
    """Keeps what masters report; lives on the scheduler, so that it is there whenever a page is opened."""

    name = PLUGIN_NAME

    def __init__(self) -> None:
        """Start without runs."""
        self.runs: dict[str, RunHistory] = {}
        """By run id, in order of start."""
        self.version = 0
        """Rises with everything that a page could show."""

    def log_event(self, topic: str, msg: Any) -> None:
        """Take an event; whatever else is on the topic, or malformed, is left out."""
        if topic == TOPIC and isinstance(msg, dict):
            try:
                self._take(msg)
            except (KeyError, TypeError):
                return  # a master of another version must not disturb the scheduler
            self.version += 1

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "run":
            self.runs[event["run"]] = RunHistory(
                event["name"], event["env"], event["policy"], event["closing"], list(event["generations"])
            )
            while len(self.runs) > _MAX_RUNS:
                del self.runs[next(iter(self.runs))]
            return
        run = self.runs[event["run"]]
        match event["type"]:
            case "progress":
                run.progress.append(event)
            case "generation":
                run.generations.append(event["generation"])
                run.nodes = event["nodes"]
                if len(run.generations) > _MAX_GENERATIONS:
                    run.generations = run.generations[::-2][::-1]  # the last one stays
            case "end":
                run.ended = event["reason"]


def history_of(scheduler: Scheduler) -> History:
    """Return the scheduler's history; the first call starts it."""
    history = scheduler.plugins.get(PLUGIN_NAME)
    if history is None:
        history = History()
        scheduler.add_plugin(history)
        for _, message in _past(scheduler):
            history.log_event(TOPIC, message)
    return history  # type: ignore[no-any-return]


def _past(scheduler: Scheduler) -> Iterable[tuple[float, Any]]:
    """Return what was logged on the topic before the history began."""
    return tuple(scheduler.get_events(TOPIC))
