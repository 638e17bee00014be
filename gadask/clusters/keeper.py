"""The keeper of a cluster of jobs: keeps the wanted number of nodes, as far as the queue gives them.

Now and then the queue is asked about all jobs at once, sooner where something has changed. A job that ended is asked
for again: because its time was up, because it was preempted, cancelled or killed, because its machine broke. If jobs
die faster than a machine's limit allows, or no node comes at all, the keeper raises with the reason and the caller's
work stops. There may be several machines: each is filled to its own number, and one question is about all of their
jobs.

One answer is not trusted far. Silence is no news: nothing is cancelled, counted or asked for because of it. A job that
is missing from an answer is gone if it is missing from a later one too, and no worker of it is connected. A submission
in doubt (a time limit, a lost connection) is looked for by its name, and asked for again when nothing came of it. Jobs
with the run's mark that the keeper does not know were accepted without its being told; they are cancelled. A queue that
takes no more jobs of the user is asked again later for the rest, also for the first. Any other refusal of all first
jobs is final; a machine that alone is refused is asked for again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from distributed import Scheduler, SchedulerPlugin

from gadask.clusters.base import NodeCounts
from gadask.clusters.joblogs import JobLogs
from gadask.clusters.jobqueue import NodeCluster, Submissions
from gadask.clusters.keptmachine import MIN_FAILURES, KeptMachine
from gadask.clusters.keptnode import KeptNode, jobs_text
from gadask.clusters.notice import Notice
from gadask.clusters.periods import Periods
from gadask.clusters.queue import Job, Queue, State
from gadask.clusters.wanted import Wanted, nodes_of_all
from gadask.errors import ClusterError
from gadask.node.deadlines import RunningClock
from gadask.units import many

_logger = logging.getLogger(__name__)

_SOON_LOOKS = 3
"""Looks that follow soon on a change."""
_SLOW_START_S = 60.0
"""A job that has run for so long without a worker has something to say in its log."""


class _Workers(SchedulerPlugin):  # type: ignore[misc]
    """Remembers which workers ever came: one may be gone before anybody looks."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.one_left = asyncio.Event()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        self.names.add(scheduler.workers[worker].name)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: object) -> None:
        self.one_left.set()


class Keeper:
    """Keeps the nodes of one cluster, and the account of them."""

    def __init__(
        self,
        queue: Queue,
        cluster: NodeCluster,
        submissions: Submissions,
        marks: Iterable[str],
        wanted: Sequence[Wanted],
        folder: Path,
        start_timeout_s: float,
        periods: Periods,
    ) -> None:
        """The job logs are in `folder`; `marks` are those of the run's jobs, of earlier masters' too."""
        self.submitted = asyncio.Event()
        """Set when the first jobs are in the queue."""
        self.any_in_doubt = False
        """Whether the end of a submission was never known: it may come to be a job yet."""
        self._queue = queue
        self._cluster = cluster
        self._submissions = submissions
        self._marks = frozenset(marks)
        self._machines = {each.machine.name: KeptMachine(each, len(wanted) == 1) for each in wanted}
        self._n_nodes = nodes_of_all(wanted)
        self._poll_s = max(each.machine.poll_s for each in wanted)
        self._logs = JobLogs(queue, folder)
        self._start_timeout_s = start_timeout_s
        self._periods = periods
        self._nodes: dict[str, KeptNode] = {}
        self._clock = RunningClock(self._poll_s + periods.command_s)  # what passes between two looks
        self._node_at = self._clock()
        self._ended_core_s = 0.0
        self._workers = _Workers()
        cluster.scheduler.add_plugin(self._workers)
        self._n_lost = 0
        self._n_stillborn = 0
        self._last_failure = ""
        self._strays: set[str] = set()
        self._silence = Notice(_logger)
        self._doubt = Notice(_logger)
        self._n_soon = _SOON_LOOKS

    async def keep(self) -> NoReturn:
        """Keep the nodes until cancelled; raises `ClusterError` if there is no point in going on.

        Cancelled, it first reads the answers of submissions that are under way.
        """
        while True:
            await self._ask_for_nodes()
            self.submitted.set()
            await self._pause()
            await self._look()
            self._warn_of_held_up()
            self._warn_of_memory()
            await self._cancel_silent()
            self._replace_ended()
            self._check_failures()
            self._check_arrival()

    @property
    def job_ids(self) -> list[str]:
        """Numbers of the jobs that are not known to have ended."""
        return [node.job_id for node in self._nodes.values() if node.job_id]

    def counts(self) -> NodeCounts:
        """Return how the nodes stand now."""
        connected = self._connected()
        waiting = [node.job for name, node in self._nodes.items() if name not in connected]
        n_starting = sum(job.state in (State.STARTING, State.RUNNING) for job in waiting)
        reasons = Counter(job.reason for job in waiting if job.state is State.QUEUED and job.reason)
        return NodeCounts(
            wanted=self._n_nodes,
            running=len(connected),
            pending=len(waiting) - n_starting,
            starting=n_starting,
            lost=self._n_lost,
            pending_reason=reasons.most_common(1)[0][0] if reasons else "",
            core_hours=(self._ended_core_s + sum(node.core_s for node in self._nodes.values())) / 3600,
        )

    def end_logs(self, *, failed: bool) -> None:
        """Remove the logs of the jobs that the end of the work has ended, unless it `failed`.

        Those of jobs that ran without a worker stay.
        """
        for node in self._nodes.values():
            since = node.silent_since
            if since is not None and self._clock() - since > _SLOW_START_S:
                _logger.warning("job %s ran without a worker; %s", node.job_id, self._logs.name(node.job_id))
        job_ids = self._strays.union(self.job_ids)
        if not failed:
            self._logs.clear(job_ids)
        elif left := self._logs.clear_empty(job_ids):
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            _logger.warning("the nodes' logs are in %s%s", left[0], more)

    def _connected(self) -> set[str]:
        names = {worker.name for worker in self._cluster.scheduler.workers.values()}
        return names & self._nodes.keys()

    async def _ask_for_nodes(self) -> None:
        """Submit what is missing. Raises `ClusterError` if the first are refused."""
        now = time.monotonic()
        due = [machine for machine in self._machines.values() if machine.submit_at <= now]
        if not due:
            return
        self._submissions.begin()
        self._cluster.fill(machine.wanted for machine in due)
        submitting = asyncio.ensure_future(self._cluster)
        try:
            await asyncio.shield(submitting)
        except asyncio.CancelledError:
            self._submissions.end()
            await asyncio.wait({submitting})
            raise
        finally:
            self._take_answers()
        missing = [node for node in self._nodes.values() if not node.job_id]
        if any(not node.submission.is_full for node in missing):
            await self._look()  # the queue may know better
        if missing:
            self._give_up_refused()
        else:
            self._doubt.clear()
        for machine in due:
            if not any(node.machine is machine for node in missing):
                machine.refusal.clear()

    def _take_answers(self) -> None:
        """Make nodes of what was submitted."""
        for name, submission in self._submissions.answers.items():
            machine = self._machines[self._cluster.machine_of[name].name]
            self._nodes[name] = KeptNode(submission, machine)
            if submission.is_full:
                continue
            self._n_soon = _SOON_LOOKS
            if not submission.job_id:
                self.any_in_doubt = True
                if not submission.refused:
                    self._doubt.tell(submission.reason, "a job may have been accepted; gadask looks for it")
        self._submissions.answers.clear()

    def _give_up_refused(self) -> None:
        """Take the jobs that were refused, and of which the queue does not know better, from the plan."""
        refused = [name for name, node in self._nodes.items() if not node.job_id and node.submission.refused]
        is_first = len(refused) == len(self._nodes) and not self._workers.names and not self._n_lost
        if refused and is_first and not any(node.submission.is_full for node in self._nodes.values()):
            reasons = {node.machine: node.submission.reason for node in self._nodes.values()}
            texts = [reason if machine.is_alone else f"{machine.name}: {reason}" for machine, reason in reasons.items()]
            raise ClusterError(f"the job was refused: {'; '.join(texts)}; compare --machine with what the site offers")
        self._give_up(refused)

    def _give_up(self, names: Iterable[str]) -> None:
        """Ask again later for jobs of which nothing came."""
        given_up: dict[KeptMachine, list[str]] = defaultdict(list)
        for name in names:
            node = self._nodes.pop(name)
            given_up[node.machine].append(node.submission.reason)
            self._cluster.forget([name])
        for machine, reasons in given_up.items():
            what = f"{many(len(reasons), 'job')}{machine.of_name} not accepted, and asked for again later"
            machine.refusal.tell(reasons[0], what)
            machine.submit_at = time.monotonic() + self._periods.submit_again_s

    async def _pause(self) -> None:
        """Wait until the queue is to be asked again."""
        periods = self._periods
        doubtful = any(not node.job_id or node.absent_since is not None for node in self._nodes.values())
        is_soon = doubtful or self._n_soon > 0
        pause_s = min(self._poll_s, periods.soon_s) if is_soon else self._poll_s
        pause_s = min(pause_s, self._node_at + self._start_timeout_s - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, pause_s)):
                await self._workers.one_left.wait()
        if self._workers.one_left.is_set():
            self._workers.one_left.clear()
            self._n_soon = _SOON_LOOKS
            await asyncio.sleep(min(self._poll_s, periods.soon_s))  # the queue takes a moment to see it end
        self._n_soon -= self._n_soon > 0

    async def _look(self) -> None:
        """Bring what is known of the jobs up to date."""
        try:
            jobs = await self._queue.states(self._marks, self._periods.command_s)
        except ClusterError as error:
            self._silence.tell(str(error), "the queue cannot be asked and will be asked again")
            for node in self._nodes.values():
                node.silent_since = node.absent_since = None
            return
        self._silence.clear()
        now, connected = self._clock(), self._connected()  # as they are behind a command that took its time
        found: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            found[job.name].append(job)
        for name, node in self._nodes.items():
            # A script that was handed in twice gives two jobs; its worker is the first one's that runs.
            mine = sorted(found.pop(name, []), key=lambda job: (job.state.is_over, job.job_id != node.job_id))
            if mine and not (node.submission.refused and mine[0].state.is_over):  # Slurm lists refused ones as failed
                node.see(mine[0], now, name in connected)
                found[name] = mine[1:]
            elif name in connected:
                node.absent_since = None
            else:
                self._note_absent(node, now)
        self._give_up([name for name, node in self._nodes.items() if node.never_was])
        await self._cancel_strays([job for jobs in found.values() for job in jobs if job.state.is_to_cancel])

    def _note_absent(self, node: KeptNode, now: float) -> None:
        """Take note that an answer lacks a job; believe it when it is repeated."""
        if node.absent_since is None:
            node.absent_since = now
        elif now - node.absent_since >= self._periods.absence_s:
            # It ended, and the queue has forgotten it; or it never was.
            node.never_was = not node.job_id
            seconds = round(node.seconds) - node.earlier_s
            node.job = replace(node.job, state=State.COMPLETED, word="COMPLETED", seconds=seconds)

    async def _cancel_strays(self, jobs: list[Job]) -> None:
        if jobs:
            job_ids = [job.job_id for job in jobs]
            _logger.warning("jobs of this run that it was not told of are cancelled: %s", ", ".join(job_ids))
            self._strays |= set(job_ids)
            await self._cancel(job_ids)

    async def _cancel_silent(self) -> None:
        """Cancel jobs that run and have no worker."""
        now, silent_s = self._clock(), self._periods.silent_s
        silent = [
            node.job_id
            for name, node in self._nodes.items()
            if node.silent_since is not None and now - node.silent_since > silent_s and name not in self._connected()
        ]
        if silent:
            _logger.warning("jobs without a worker for %.0f s are cancelled: %s", silent_s, ", ".join(silent))
            await self._cancel(silent)

    def _warn_of_held_up(self) -> None:
        """Say once of each job that the queue holds it up, such as suspended, and again when that has happened anew."""
        for node in self._nodes.values():
            is_held_up = node.job.state is State.OTHER
            if is_held_up and not node.is_held_up:
                what = f"job {node.job_id} on {node.job.node or 'no machine'} is {node.job.word}"
                _logger.warning("%s: others play what it had, and it plays on when it is let go", what)
            node.is_held_up = is_held_up

    def _warn_of_memory(self) -> None:
        """Say once of each job that the kernel kills its processes because its memory is full."""
        for worker in self._cluster.scheduler.workers.values():
            node = self._nodes.get(worker.name)
            if node is not None and worker.metrics.get("memory_kills", 0) and not node.is_short_of_memory:
                node.is_short_of_memory = True
                what = f"processes of job {node.job_id} on {node.job.node} are killed"
                _logger.warning("%s: %s", what, node.machine.more_memory())

    async def _cancel(self, job_ids: list[str]) -> None:
        with contextlib.suppress(ClusterError):  # the next time, then
            await self._queue.cancel(job_ids, self._periods.command_s)

    def _replace_ended(self) -> None:
        """Take jobs that ended from the cluster's plan, which makes room for others."""
        ended = {name: node for name, node in self._nodes.items() if node.job.state.is_over}
        for name, node in ended.items():
            del self._nodes[name]
            self._ended_core_s += node.core_s
            node.machine.ended_s += node.seconds
            self._judge(name, node)
        self._cluster.forget(ended)

    def _judge(self, name: str, node: KeptNode) -> None:
        """Book why a job ended."""
        job, was_node = node.job, name in self._workers.names
        if was_node and job.state is State.COMPLETED and node.machine.is_whole_life(job.seconds):
            self._logs.clear([node.job_id])
            return  # its time was up
        self._n_lost += 1
        reason = f", {job.reason}" if job.reason else ""
        what = f"job {node.job_id} on {job.node or 'no machine'}: {job.word}{reason} after {job.seconds} s"
        if job.state is State.OUT_OF_MEMORY or node.is_short_of_memory:
            what += f"; {node.machine.more_memory()}"
        if job.state is State.PREEMPTED:  # of which the log knows nothing
            self._logs.clear([node.job_id])
        else:
            node.machine.n_failed += 1
            # Not one that was cancelled while it waited. A queue that forgets jobs may never have named a machine.
            ran = bool(job.node) or self._logs.has(node.job_id)
            self._n_stillborn += not was_node and ran
            what += f"; {self._logs.name(node.job_id)}" if ran else ""
            self._last_failure = node.machine.last_failure = what
        _logger.warning("a node was lost and another is asked for: %s", what)

    def _check_failures(self) -> None:
        """Raise `ClusterError` if jobs die faster than others play."""
        if not self._workers.names and self._n_stillborn >= min(MIN_FAILURES, self._n_nodes):
            raise ClusterError(f"jobs die before they become nodes; the last was {self._last_failure}")
        for machine in self._machines.values():
            machine.check_failures(sum(node.seconds for node in self._nodes.values() if node.machine is machine))

    def _check_arrival(self) -> None:
        """Raise `ClusterError` if there was no node for too long."""
        now = self._clock()
        if self._connected():
            self._node_at = now
        if now - self._node_at < self._start_timeout_s:
            return
        waited = f"no node for {self._start_timeout_s:.0f} s"
        if self._silence.reason:
            raise ClusterError(f"{waited}: the queue cannot be asked: {self._silence.reason}")
        refusals = [machine.refusal.reason for machine in self._machines.values() if machine.refusal.reason]
        if refusals and not self._nodes:
            raise ClusterError(f"{waited}: no job was accepted: {refusals[0]}; a larger --start-timeout waits longer")
        running = [node for node in self._nodes.values() if node.job.state is State.RUNNING]
        if running:
            log = self._logs.name(running[0].job_id)
            address = self._cluster.scheduler_address
            raise ClusterError(
                f"{waited}: no worker of {jobs_text(running)} reached the scheduler at {address};"
                f" {self._queue.if_unreachable}; {log}"
            )
        raise ClusterError(
            f"{waited}: {self._queue.title} keeps {jobs_text(self._nodes.values())} waiting, its reason:"
            f" {self.counts().pending_reason or 'none given'}; a larger --start-timeout waits longer"
        )
