"""How long the keeper of a cluster of jobs waits, and for what; tests make these numbers small."""

from __future__ import annotations

from dataclasses import dataclass

from gadask.clusters.base import DEATH_TIMEOUT_S


@dataclass(frozen=True)
class Periods:
    """Times in seconds; how often the queue is asked is the machine's `poll_s`."""

    soon_s: float = 5.0
    """The queue is asked again after this long where something has changed or is in doubt."""
    absence_s: float = 4.0
    """A job that is missing from two answers this far apart is believed to be gone."""
    submit_again_s: float = 60.0
    """Jobs that were refused are asked for again after this long."""
    silent_s: float = DEATH_TIMEOUT_S + 60.0
    """A job that runs for this long without a worker has lost its worker, or never had one."""
    command_s: float = 120.0
    """A call of the queue may take this long: a busy controller is slow, and commands give up by themselves before."""
    last_answer_s: float = 5.0
    """At the end, a submission that is under way may take this much longer."""
    end_s: float = 18.0
    """The queue is asked and told for this long at the end, and at the start for what an earlier master left."""
    end_poll_s: float = 0.5
    end_absence_s: float = 2.0
    """`absence_s` at the end."""
