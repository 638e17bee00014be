"""How long the keeper of a cluster of jobs waits for what: numbers that tests make small."""

from __future__ import annotations

from dataclasses import dataclass

from gadask.clusters.base import DEATH_TIMEOUT_S


@dataclass(frozen=True)
class Periods:
    """Times in seconds; how often the queue is asked is the machine's `poll_s`."""

    soon_s: float = 5.0
    """The queue is asked again after so long where something has changed or is in doubt."""
    absence_s: float = 4.0
    """A job that two answers lack, so far apart, is believed to be gone."""
    submit_again_s: float = 60.0
    """Jobs that were refused are asked for again after so long."""
    silent_s: float = DEATH_TIMEOUT_S + 60.0
    """A job that runs for so long without a worker has none any more, or never had one."""
    command_s: float = 120.0
    """A call of the queue may take so long: a busy controller is slow, and commands give up by themselves before."""
    last_answer_s: float = 5.0
    """At the end, a submission that is under way may take so much longer."""
    end_s: float = 18.0
    """At the end, and for what an earlier master left at the start, the queue is asked and told for so long."""
    end_poll_s: float = 0.5
    end_absence_s: float = 2.0
    """`absence_s` at the end."""
