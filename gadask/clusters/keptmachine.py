"""One machine of a cluster as its keeper sees it: how many nodes are wanted, and how those that ended did."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from gadask.clusters.jobqueue import lifetime
from gadask.clusters.memory import Form
from gadask.clusters.notice import Notice
from gadask.clusters.wanted import Wanted
from gadask.errors import ClusterError

_logger = logging.getLogger("gadask.clusters.keeper")

MIN_FAILURES = 3
"""Failures that are nobody's fault yet."""


@dataclass(eq=False)
class KeptMachine:
    """A machine and what became of its jobs."""

    wanted: Wanted
    is_alone: bool = True
    """Whether the cluster has no other; then it need not be named, and its fields may be flags."""
    submit_at: float = -math.inf
    """When the next jobs may be handed in, after some were not accepted; the time of `time.monotonic`."""
    refusal: Notice = field(default_factory=lambda: Notice(_logger))
    """Of jobs that were not accepted."""
    n_failed: int = 0
    last_failure: str = ""
    ended_s: float = 0.0
    """Wall time of the jobs that ended."""

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.wanted.machine.name

    @property
    def of_name(self) -> str:
        """What messages put behind its jobs."""
        return "" if self.is_alone else f" of {self.name}"

    def is_whole_life(self, seconds: float) -> bool:
        """Whether a job that ended after so long left because its time was up."""
        lifetime_s, stagger_s = lifetime(self.wanted.machine)
        return seconds >= lifetime_s - stagger_s - 1

    def more_memory(self) -> str:
        """Return what to do about too little memory."""
        machine = self.wanted.machine
        larger = "a larger --machine.memory, or " if self.is_alone else "a larger memory in its machine file, or "
        more = "" if machine.job_memory.form is Form.ALL else larger
        return f"its memory is too little ({machine.memory}); {more}fewer rollout processes"

    def check_failures(self, lasting_s: float) -> None:
        """Raise `ClusterError` if jobs die faster than the machine allows; `lasting_s` is that of the others."""
        node_hours = (self.ended_s + lasting_s) / 3600
        rate = self.wanted.machine.max_failures_per_node_hour
        if self.n_failed > max(MIN_FAILURES, self.wanted.n_nodes) + rate * node_hours:
            raise ClusterError(
                f"{self.n_failed} jobs{self.of_name} died in {node_hours:.1f} node-hours, more than"
                f" max_failures_per_node_hour = {rate:g} allows; the last was {self.last_failure}"
            )
