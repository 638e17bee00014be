"""The keeper of a Slurm cluster: has the wanted number of nodes, as far as the queue gives them.

Every few seconds one `squeue` tells of all jobs. A job that ended is asked for again: because its time was up, because
it was preempted, cancelled or killed, because its machine broke. If jobs die faster than a machine's limit allows, or
no node comes at all, the keeper raises with the reason and the caller's work stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from distributed import Scheduler, SchedulerPlugin

from gadask.clusters.base import DEATH_TIMEOUT_S, NodeCounts, end_of_log
from gadask.clusters.jobqueue import NodeCluster, Submissions, lifetime, log_path
from gadask.clusters.queue import JobState, cancel, job_states
from gadask.errors import ClusterError
from gadask.machine import Machine

_logger = logging.getLogger(__name__)

_POLL_S = 5.0
_SUBMIT_AGAIN_S = 60.0
_SILENT_S = DEATH_TIMEOUT_S + 60.0  # then a job that runs has no worker any more, or never had one
_MIN_FAILURES = 3


@dataclass
class _Node:
    """A job and what is known of it."""

    job_id: str
    state: JobState = field(default_factory=lambda: JobState("PENDING"))
    heard_at: float = field(default_factory=time.monotonic)
    """When its worker was last connected, or could not be."""
    earlier_s: int = 0
    """Wall time of the job before Slurm requeued it."""
    looked_at: float = field(default_factory=time.monotonic)
    """When the queue told of this state."""

    @property
    def seconds(self) -> float:
        """Wall time that is charged for."""
        since_s = time.monotonic() - self.looked_at if self.state.state == "RUNNING" else 0.0
        return self.earlier_s + self.state.seconds + since_s

    @property
    def core_s(self) -> float:
        """Core-seconds that are charged for."""
        return self.state.cores * self.seconds


class _Arrivals(SchedulerPlugin):  # type: ignore[misc]
    """Remembers which workers ever came: one may be gone before anybody looks."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        self.names.add(scheduler.workers[worker].name)


class Keeper:
    """Keeps the nodes of one cluster, and the account of them."""

    def __init__(
        self,
        cluster: NodeCluster,
        submissions: Submissions,
        machine: Machine,
        n_nodes: int,
        folder: Path,
        start_timeout_s: float,
    ) -> None:
        """The job logs are in `folder`."""
        self.submitted = asyncio.Event()
        """Set when the first jobs are in the queue."""
        self._cluster = cluster
        self._submissions = submissions
        self._machine = machine
        self._n_nodes = n_nodes
        self._folder = folder
        self._start_timeout_s = start_timeout_s
        self._nodes: dict[str, _Node] = {}
        self._node_at = time.monotonic()
        self._submit_at = -math.inf
        self._ended_core_s = 0.0
        self._ended_node_s = 0.0
        self._arrivals = _Arrivals()
        cluster.scheduler.add_plugin(self._arrivals)
        self._n_lost = 0
        self._n_failed = 0
        self._last_failure = ""
        self._queue_answers = True

    async def keep(self) -> NoReturn:
        """Keep the nodes until cancelled; raises `ClusterError` if there is no point in going on."""
        while True:
            await self._ask_for_nodes()
            self.submitted.set()
            until_timeout_s = self._node_at + self._start_timeout_s - time.monotonic()
            await asyncio.sleep(max(0.0, min(_POLL_S, until_timeout_s)))
            await self._look()
            await self._cancel_silent()
            self._replace_ended()
            self._check_failures()
            self._check_arrival()

    def counts(self) -> NodeCounts:
        """Return how the nodes stand now."""
        connected = self._connected()
        waiting = [node.state for name, node in self._nodes.items() if name not in connected]
        reasons = Counter(state.reason for state in waiting if state.state == "PENDING" and state.reason != "None")
        return NodeCounts(
            wanted=self._n_nodes,
            running=len(connected),
            pending=len(waiting),
            lost=self._n_lost,
            pending_reason=reasons.most_common(1)[0][0] if reasons else "",
            core_hours=(self._ended_core_s + sum(node.core_s for node in self._nodes.values())) / 3600,
        )

    def _connected(self) -> set[str]:
        names = {worker.name for worker in self._cluster.scheduler.workers.values()}
        return names & self._nodes.keys()

    async def _ask_for_nodes(self) -> None:
        """Submit what is missing. Raises `ClusterError` if nothing was ever accepted."""
        if time.monotonic() < self._submit_at:
            return
        self._cluster.scale(self._n_nodes)
        await self._cluster
        for name, job_id in self._submissions.accepted.items():
            if name not in self._nodes:
                self._nodes[name] = _Node(job_id)
        refused, self._submissions.refused = self._submissions.refused, {}
        if refused:
            reason = next(iter(refused.values()))
            if not self._nodes and not self._arrivals.names:
                raise ClusterError(f"the job was refused: {reason}; compare --machine with what the site offers")
            _logger.warning("%d jobs were refused and are asked for again later: %s", len(refused), reason)
            self._submit_at = time.monotonic() + _SUBMIT_AGAIN_S
            self._cluster.forget(refused)

    async def _look(self) -> None:
        """Bring what is known of the jobs up to date."""
        now = time.monotonic()
        for name in self._connected():
            self._node_at = self._nodes[name].heard_at = now
        try:
            states = await job_states([node.job_id for node in self._nodes.values()])
        except ClusterError as error:
            if self._queue_answers:
                _logger.warning("the queue cannot be asked, which is tried again: %s", error)
            self._queue_answers = False
            return
        self._queue_answers = True
        for node in self._nodes.values():
            # What the queue has forgotten ended a while ago.
            state = states.get(node.job_id, replace(node.state, state="COMPLETED"))
            if state.seconds < node.state.seconds:
                node.earlier_s += node.state.seconds
            if state.state != "RUNNING":
                node.heard_at = now
            node.state, node.looked_at = state, now

    async def _cancel_silent(self) -> None:
        """Cancel jobs that run and have no worker."""
        silent = [node.job_id for node in self._nodes.values() if time.monotonic() - node.heard_at > _SILENT_S]
        if silent:
            _logger.warning("jobs without a worker for %.0f s are cancelled: %s", _SILENT_S, ", ".join(silent))
            with contextlib.suppress(ClusterError):  # the next time, then
                await cancel(silent)

    def _replace_ended(self) -> None:
        """Take jobs that ended from the cluster's plan, which makes room for others."""
        ended = {name: node for name, node in self._nodes.items() if node.state.over}
        for name, node in ended.items():
            del self._nodes[name], self._submissions.accepted[name]
            self._ended_core_s += node.core_s
            self._ended_node_s += node.seconds
            self._judge(name, node)
        self._cluster.forget(ended)

    def _judge(self, name: str, node: _Node) -> None:
        """Book why a job ended."""
        lifetime_s, stagger_s = lifetime(self._machine)
        state, was_node = node.state, name in self._arrivals.names
        if was_node and state.state == "COMPLETED" and state.seconds >= lifetime_s - stagger_s - 1:
            return  # its time was up
        self._n_lost += 1
        reason = "" if state.reason in ("", "None", state.state) else f", {state.reason}"
        what = f"job {node.job_id} on {state.node or 'no machine'}: {state.state}{reason} after {state.seconds} s"
        if state.state != "PREEMPTED":
            self._n_failed += 1
            self._last_failure = f"{what}; {end_of_log(log_path(self._folder, node.job_id))}"
        _logger.warning("a node was lost, another is asked for: %s", what)

    def _check_failures(self) -> None:
        """Raise `ClusterError` if jobs die faster than others play."""
        if not self._arrivals.names and self._n_failed >= min(_MIN_FAILURES, self._n_nodes):
            raise ClusterError(f"jobs die before they become nodes; the last was {self._last_failure}")
        node_hours = (self._ended_node_s + sum(node.seconds for node in self._nodes.values())) / 3600
        rate = self._machine.max_failures_per_node_hour
        if self._n_failed > max(_MIN_FAILURES, self._n_nodes) + rate * node_hours:
            raise ClusterError(
                f"{self._n_failed} jobs died in {node_hours:.1f} node-hours, more than"
                f" max_failures_per_node_hour = {rate:g} allows; the last was {self._last_failure}"
            )

    def _check_arrival(self) -> None:
        """Raise `ClusterError` if there was no node for too long."""
        if time.monotonic() - self._node_at < self._start_timeout_s:
            return
        waited = f"no node for {self._start_timeout_s:.0f} s"
        running = [node for node in self._nodes.values() if node.state.state == "RUNNING"]
        if running:
            log = end_of_log(log_path(self._folder, running[0].job_id))
            raise ClusterError(
                f"{waited}: no worker of {_jobs(running)} reached the scheduler at {self._cluster.scheduler_address};"
                f" set the machine's scheduler_interface, or run inside the job with --cluster allocation; {log}"
            )
        raise ClusterError(
            f"{waited}: Slurm keeps {_jobs(self._nodes.values())} waiting, its reason:"
            f" {self.counts().pending_reason or 'none given'}; a larger --start-timeout waits longer"
        )


def _jobs(nodes: Iterable[_Node]) -> str:
    """Return the numbers of jobs, but not of very many."""
    numbers = [node.job_id for node in nodes]
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"{'jobs' if len(numbers) > 1 else 'job'} {', '.join(numbers[:3])}{more}"
