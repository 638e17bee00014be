"""A node's work: chunks of episodes, played on its rollout processes for any number of runs.

What it keeps for a run (the weights of its parents, which generations are closed) is made with the first chunk and
freed when the run ends. A run whose master was killed does not say that it ends: its lease does.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gadask.algorithms.algorithm import Brood
from gadask.config import NoiseConfig
from gadask.errors import NodeError
from gadask.genomes.genome import Genome
from gadask.messages import Chunk, Kind, Status, Task
from gadask.node.ancestors import Ancestors, Decoding
from gadask.node.batch import Batch
from gadask.node.cores import granted_cores, own_rollouts
from gadask.node.forkserver import ForkServer
from gadask.node.jobs import Job, PlayJob, WriteJob
from gadask.node.plan import decode_jobs, plan_episodes, plan_slots, weights_needed
from gadask.node.pool import Pool
from gadask.rows import Rows

LEASE_S = 90.0
"""A node keeps what belongs to a run for this long after its master's last sign of life, such as a chunk that is being
played and that Dask still wants. Afterwards the next chunk has it made again."""

STOP_S = 30.0
"""An episode of a run or a generation that has ended and does not stop by then hangs, and its process is replaced."""

_JOB_S = 0.05
"""Cheap episodes are sent to a process several at a time, so that a job takes about this long."""

LANE_ROUNDS = 4
"""A job that is played in lanes has this many episodes for each, if there are that many."""

_MAX_EPISODES_A_JOB = 500  # beyond the fill of its lanes; what a process had is played again when it dies


@dataclass
class _TaskState:
    """What a node keeps for one task, beside the weights that its processes share."""

    number: int
    client_id: str
    weights: Ancestors
    heard_at: float
    """When the run's master last gave a sign of life, in seconds of the monotonic clock."""
    closed: dict[Kind, int] = field(default_factory=dict)
    """The last closed generation of each kind of episode."""
    parts: list[_Part] = field(default_factory=list)
    episode_s: float = 0.0


@dataclass(eq=False)
class _Part:
    """A chunk that is being played."""

    is_wanted: Callable[[], bool]
    batch: Batch | None = None
    stopped: bool = False


class Node:
    """Plays chunks on its rollout processes; used by several Dask threads at once."""

    def __init__(
        self,
        noise: NoiseConfig,
        n_processes: int | None = None,
        on_failure: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Start the fork server, fill the noise table over all cores, start the processes.

        `on_failure` is called by another thread if the node can play nothing any more.
        """
        cpus = sorted(os.sched_getaffinity(0))
        if n_processes is None:
            n_processes = own_rollouts()
        # A core is left to the Dask worker where there is one to spare. With fewer processes than that, other nodes
        # share the machine, and which cores are theirs is the kernel's to say.
        rollout_cpus = cpus[len(cpus) - n_processes :] if n_processes < len(cpus) else cpus
        pinned = n_processes >= max(2, len(cpus) - 1)
        self.noise = noise
        server = ForkServer(noise, n_processes, min(len(cpus), granted_cores()))
        self.digest = server.digest
        self.pool = Pool(server, n_processes, rollout_cpus if pinned else None, on_failure)
        self._tasks: dict[str, _TaskState] = {}
        self._forgotten: set[str] = set()
        self._lock = threading.Lock()

    @property
    def n_tasks(self) -> int:
        """Tasks whose weights the node keeps."""
        return len(self._tasks)

    @property
    def client_ids(self) -> frozenset[str]:
        """Dask clients of the masters of these tasks."""
        with self._lock:
            return frozenset(state.client_id for state in self._tasks.values())

    def play(self, task: Task, brood: Brood, chunk: Chunk, is_wanted: Callable[[], bool] = lambda: True) -> Rows:
        """Play a chunk's episodes; it is stopped when `tend` finds `is_wanted` false.

        Returns one row each, in order of completion.
        """
        part = _Part(is_wanted)
        state = self._state_of(task, part)
        try:
            return self._play(task, state, part, brood, chunk)
        finally:
            with self._lock:
                state.parts.remove(part)
                state.heard_at = time.monotonic()

    def vectors(self, task: Task, genome: Genome) -> bytes:
        """Return a genome's parameters, and the optimiser's vectors behind them, float32."""
        part = _Part(lambda: True)
        state = self._state_of(task, part)
        try:
            with state.weights.ready([genome], [genome]) as rows_of:
                assert rows_of is not None  # it is always wanted
                with tempfile.TemporaryDirectory(prefix="gadask-") as folder:
                    path = Path(folder) / "vectors"
                    self._finish([WriteJob(state.number, rows_of[genome], str(path))])
                    return path.read_bytes()
        finally:
            with self._lock:
                state.parts.remove(part)
                state.heard_at = time.monotonic()

    def close_generation(self, task: Task, kind: Kind, generation: int) -> None:
        """Stop episodes of this kind in this generation and those before; later chunks of them come back unplayed."""
        state = self._state_of(task)
        if generation > state.closed.get(kind, -1):
            state.closed[kind] = generation
            self._stop(state)

    def renew(self, run_id: str) -> None:
        """Take note that the run's master is alive."""
        with self._lock:
            if state := self._tasks.get(run_id):
                state.heard_at = time.monotonic()

    def tend(self) -> None:
        """Stop chunks that nobody wants any more, and free what belongs to runs whose lease has ended.

        To be called every few seconds; never waits.
        """
        now_s = time.monotonic()
        with self._lock:
            ended = [
                run_id for run_id, state in self._tasks.items() if not state.parts and now_s - state.heard_at > LEASE_S
            ]
            unwanted = [(state, part) for state in self._tasks.values() for part in state.parts if not part.is_wanted()]
        for run_id in ended:
            self._drop(run_id)
        for state, part in unwanted:
            self._stop_part(state, part)
        self.pool.kill_stopped(STOP_S)

    def forget(self, task: Task) -> None:
        """End a task's episodes and free its weights."""
        with self._lock:
            self._forgotten.add(task.run_id)  # its chunks may still be on their way
        self._drop(task.run_id)

    def close(self) -> None:
        """End all processes and free all shared memory."""
        self.pool.close()

    def _state_of(self, task: Task, part: _Part | None = None) -> _TaskState:
        """Return what the node keeps for a task, made where it is missing, with `part` among what is played."""
        with self._lock:
            state = self._tasks.get(task.run_id)
            if task.run_id in self._forgotten:
                raise NodeError(f"the run {task.run_id} has ended")
            if state is None:
                if task.noise != self.noise:
                    raise NodeError(f"this node's noise table is {self.noise}, the run needs {task.noise}")
                n_rows = 4 * task.n_genomes
                number = self.pool.add_task(task, n_rows * (1 + task.n_vectors))
                state = _TaskState(number, task.client_id, self._ancestors(task, number, n_rows), 0.0)
                self._tasks[task.run_id] = state
            state.heard_at = time.monotonic()
            if part is not None:
                state.parts.append(part)
            return state

    def _ancestors(self, task: Task, number: int, n_rows: int) -> Ancestors:
        def decode(decodings: Sequence[Decoding]) -> None:
            self._finish([job for each in decodings for job in decode_jobs(task, number, each, self.pool.n_processes)])

        return Ancestors(n_rows, decode)

    def _finish(self, jobs: Sequence[Job]) -> None:
        """Have jobs done that decode genomes; raises `NodeError` where one fails."""
        batch = self.pool.submit(jobs)
        batch.wait()
        if batch.failures:
            raise NodeError(f"cannot decode a genome: {batch.failures[0]}")

    def _drop(self, run_id: str) -> None:
        with self._lock:
            state = self._tasks.pop(run_id, None)
        if state is not None:
            state.weights.end(f"the run {run_id} has ended")
            self.pool.remove_task(state.number)

    def _play(self, task: Task, state: _TaskState, part: _Part, brood: Brood, chunk: Chunk) -> Rows:
        def is_open() -> bool:
            return not part.stopped and chunk.generation > state.closed.get(chunk.kind, -1)

        slots = plan_slots(task, brood, chunk)
        wanted, used = weights_needed(brood, chunk, slots)
        with state.weights.ready(wanted, used, is_open) as rows_of:
            if rows_of is None:
                return Rows.unplayed(chunk.generation, chunk.kind, chunk.episodes, Status.STOPPED)
            planned = plan_episodes(chunk, slots, rows_of)
            jobs: list[Job] = []
            size = self._episodes_a_job(state, len(planned), task.n_lanes)
            for start in range(0, len(planned), size):
                episodes = tuple(planned[start : start + size])
                jobs.append(PlayJob(state.number, chunk.generation, chunk.kind, episodes, brood.normaliser))
            batch = part.batch = self.pool.submit(jobs)
            if not is_open():  # closed before its jobs could be stopped
                self._stop(state)
                self._stop_part(state, part)
            rows = batch.wait()
        played = rows.table["seconds"][rows.table["status"] == Status.OK]
        if len(played):
            state.episode_s = float(played.mean())
        return rows

    def _stop(self, state: _TaskState) -> None:
        """Stop what belongs to closed generations."""

        def matches(job: Job, batch: Batch) -> bool:
            return (
                isinstance(job, PlayJob)
                and job.task_number == state.number
                and job.generation <= state.closed.get(job.kind, -1)
            )

        self.pool.stop(matches)
        state.weights.look_again()

    def _stop_part(self, state: _TaskState, part: _Part) -> None:
        part.stopped = True
        if part.batch is not None:
            self.pool.stop(lambda job, batch: batch is part.batch)
        state.weights.look_again()

    def _episodes_a_job(self, state: _TaskState, n_episodes: int, n_lanes: int) -> int:
        cheap = min(int(_JOB_S / state.episode_s), _MAX_EPISODES_A_JOB) if state.episode_s else 1
        if n_lanes:  # lanes idle at the end of a job, so that it should be long
            share = -(-n_episodes // self.pool.n_processes)
            return max(1, min(share, max(LANE_ROUNDS * n_lanes, cheap)))
        return max(1, min(cheap, n_episodes // (4 * self.pool.n_processes)))
