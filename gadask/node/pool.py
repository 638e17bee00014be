"""A node's rollout processes: one supervised socket each, deadlines, replacement, death with the parent.

One thread supervises. It hands every idle process the next job, in turns between runs (`fairqueue.py`), kills a process
whose episode passed its deadline, replaces processes that died, and queues their episodes again. Why not
`multiprocessing.Pool` or `ProcessPoolExecutor`: one killed child hangs the first and breaks the whole of the second.

What holds: every submitted episode gets exactly one row; a row is `TIMEOUT` only after its own deadline passed and
`ERROR` only after its process died under it `MAX_DEATHS` times or it raised twice; nothing outlives the pool.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import mmap
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gadask.errors import NodeError, PacketError
from gadask.messages import Status, Task
from gadask.node.batch import Batch
from gadask.node.deadlines import Deadlines, Playing, Verdict
from gadask.node.fairqueue import FairQueue
from gadask.node.forkserver import CLOSE_S, ForkServer
from gadask.node.jobs import SEVERAL, WORDS_PER_PROCESS, Answer, Job, NewTask, PlayJob
from gadask.node.packets import packet_socketpair, receive
from gadask.node.supervised import Pending, Process

_logger = logging.getLogger(__name__)

MAX_DEATHS = 3
"""An episode under which this many processes died gets status `ERROR`."""

_MAX_FAILED_STARTS = 10


@dataclass(frozen=True)
class _SharedTask:
    message: NewTask
    weights_fd: int


class Pool:
    """`n_processes` rollout processes under one supervising thread."""

    def __init__(
        self,
        server: ForkServer,
        n_processes: int,
        cpus: Sequence[int] | None,
        on_failure: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Fork the processes, process i pinned to `cpus[i % len(cpus)]`; raises `NodeError` if they cannot start.

        The pool owns the server from here on. With `cpus=None` nothing is pinned. `on_failure` is called by the pool's
        thread if it fails later; nothing is played any more.
        """
        self._on_failure = on_failure
        self.n_processes = n_processes
        self._cpus = cpus
        self._server = server
        self._mapping = mmap.mmap(server.words_fd, 0)
        self._words = np.frombuffer(self._mapping, np.int64).reshape(-1, WORDS_PER_PROCESS)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._queue: FairQueue[Pending] = FairQueue(n_processes)
        self._must_drop = False
        self._tasks: dict[int, _SharedTask] = {}
        self._closing = False
        self._failed_starts = 0
        self._failure = "the pool of rollout processes was closed"
        self.failure: str | None = None
        """Why the pool plays nothing any more, if it failed."""
        self._deadlines = Deadlines()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        try:
            self._processes = [self._spawn(index) for index in range(n_processes)]
        except BaseException:
            server.close()
            raise
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="gadask-pool", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._closing:
            raise NodeError(self._failure)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the rollout processes that are ready."""
        return [process.pid for process in self._processes if process.pid]

    @property
    def closed(self) -> bool:
        """Whether the pool plays nothing any more: it was closed, or it failed."""
        return self._closing

    @property
    def n_queued(self) -> int:
        """Jobs that no process plays yet."""
        return len(self._queue)

    def add_task(self, task: Task, n_rows: int) -> int:
        """Make a task known, with room for the weights of `n_rows` genomes; returns the number that its jobs carry.

        Raises `NodeError` if the pool was closed.
        """
        number = next(self._numbers)
        with self._lock:
            if self._closing:
                raise NodeError(self._failure)
            weights_fd = os.memfd_create("gadask-weights", os.MFD_CLOEXEC)
            os.ftruncate(weights_fd, 4 * task.n_params * n_rows)  # untouched rows take no memory
            self._tasks[number] = _SharedTask(NewTask(number, task, n_rows), weights_fd)
        return number

    def remove_task(self, number: int) -> None:
        """Stop a task's jobs and free its environments and weights, if the pool has them still."""
        self.stop(lambda job, _: job.task_number == number)
        with self._lock:
            shared = self._tasks.pop(number, None)
            if shared is not None:
                os.close(shared.weights_fd)
            self._must_drop = True
        self._wake()

    def submit(self, jobs: Sequence[Job]) -> Batch:
        """Queue jobs behind those that their run submitted before; thread-safe."""
        batch = Batch(len(jobs))
        with self._lock:
            if self._closing:
                batch.fail(self._failure)
            for job in jobs:
                shared = self._tasks.get(job.task_number)
                timeout_s = shared.message.task.env.episode_timeout_s if shared else 0.0  # removed: answered unplayed
                self._queue.put(job.task_number, Pending(next(self._numbers), job, batch, timeout_s))
                self._must_drop |= shared is None
        self._wake()
        return batch

    def stop(self, matches: Callable[[Job, Batch], bool]) -> None:
        """End all matching jobs now: their unfinished episodes get status `STOPPED`; thread-safe."""
        with self._lock:
            running = [process.pending for process in self._processes if process.pending]
            for pending in [*self._queue, *running]:
                if matches(pending.job, pending.batch):
                    pending.stopped_at = pending.stopped_at or time.monotonic()
            self._must_drop = True
            for process in self._processes:
                if process.pending and process.pending.stopped_at is not None:
                    self._words[process.index, 0] = process.pending.number
        self._wake()

    def kill_stopped(self, seconds: float) -> None:
        """Replace processes that go on with a job `seconds` after it was stopped: their episode hangs; thread-safe."""
        since_s = time.monotonic() - seconds
        with self._lock:
            for process in () if self._closing else self._processes:
                stopped_at = process.pending.stopped_at if process.pending else None
                if stopped_at is not None and stopped_at < since_s and not process.is_dying:
                    process.fault = NodeError("it went on after it was stopped")
                    process.kill()

    def close(self) -> None:
        """End all processes; whoever waits for a batch gets a `NodeError`."""
        with self._lock:
            self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"x")

    def _supervise(self) -> None:
        try:
            while not self._closing:
                wait_s = self._deadlines.seconds_to_look(any(process.is_watched for process in self._processes))
                for key, _ in self._selector.select(wait_s):
                    if key.fileobj is self._wake_reader:
                        with contextlib.suppress(BlockingIOError):
                            while self._wake_reader.recv(4096):
                                pass
                    else:
                        self._receive(key.data)
                if self._deadlines.is_due:
                    self._kill_overdue()
                self._dispatch()
                if all(process.pid for process in self._processes):
                    self._started.set()
        except Exception as error:  # without its supervisor the pool must not seem alive
            text = str(error) if isinstance(error, NodeError) else f"{type(error).__name__}: {error}"
            self.failure = self._failure = f"the pool of rollout processes failed: {text}"
            _logger.error("%s", self.failure, exc_info=not isinstance(error, NodeError))
        finally:
            self._shut_down()
            if self.failure is not None and self._started.is_set():
                self._on_failure(self.failure)
            self._started.set()

    def _spawn(self, index: int) -> Process:
        ours, theirs = packet_socketpair()
        ours.setblocking(False)  # one process that does not read must not hold up the others
        self._words[index] = 0
        with theirs:
            self._server.spawn(index, self._cpus[index % len(self._cpus)] if self._cpus else None, theirs)
        process = Process(index, ours)
        self._selector.register(ours, selectors.EVENT_READ, process)
        return process

    def _receive(self, process: Process) -> None:
        """Take a process's next packet: that it is ready, an answer, why it failed, or its death."""
        message: object
        try:
            message, _ = receive(process.channel)
            if not isinstance(message, int | Answer | NodeError | None):
                raise PacketError(f"a message that no process sends: {str(message)[:80]!r}")
        except PacketError as error:
            process.kill()
            message = error
        if isinstance(message, int) and message < 0:
            process.closing.discard(-message)
        elif isinstance(message, int):
            process.pid = message
            self._failed_starts = 0
        elif isinstance(message, Answer):
            with self._lock:
                pending = self._take_back(process)
            if pending is not None:
                pending.batch.add(message.rows, message.failure)
        else:
            self._bury(process, message if isinstance(message, Exception) else process.fault)

    def _bury(self, process: Process, error: Exception | None) -> None:
        """Replace a dead process and decide on the episodes that it had."""
        self._selector.unregister(process.channel)
        process.channel.close()
        if not process.pid:
            self._failed_starts += 1
            if self._failed_starts > _MAX_FAILED_STARTS:
                raise NodeError(f"rollout processes die while they start: {error or 'killed'}")
        with self._lock:
            pending = self._take_back(process)
            if pending is not None:
                self._requeue(pending, int(self._words[process.index, 1]), process.overdue_place, error)
            self._processes[process.index] = self._spawn(process.index)

    def _take_back(self, process: Process) -> Pending | None:
        """Free a process from its job, and charge the job's run for the time."""
        pending, process.pending = process.pending, None
        if pending is not None:
            self._queue.done(pending.job.task_number, time.monotonic() - pending.sent_at)
            process.close_by_s = time.monotonic() + CLOSE_S
        return pending

    def _requeue(self, pending: Pending, played: int, overdue: int | None, error: Exception | None) -> None:
        """Queue a dead process's job again, episode by episode.

        `played` is the index in the job of the episode under which it died, `overdue` of the one for which it was
        killed; `error` is what it said. While `SEVERAL` were played none is to blame: whose fault it was shows when
        they are played one by one.
        """
        job, batch = pending.job, pending.batch
        parts: list[Job] = [job]
        if isinstance(job, PlayJob):
            parts = [replace(job, episodes=(one,)) for one in job.episodes]
        guilty = min(played if overdue is None else overdue, len(parts) - 1)
        batch.expect(len(parts) - 1)
        again = []
        for i, part in enumerate(parts):
            deaths = pending.deaths + (i == guilty)
            waiting = replace(pending, number=next(self._numbers), job=part, deaths=deaths)
            if i == guilty and overdue is not None and isinstance(part, PlayJob):
                waiting.answer_unplayed(Status.TIMEOUT, f"no end after {pending.timeout_s} s; its process was killed")
            elif deaths >= MAX_DEATHS:
                waiting.answer_unplayed(Status.ERROR, str(error or f"{deaths} rollout processes died under it"))
            else:
                again.append(waiting)
        self._queue.put_back(job.task_number, again)
        self._must_drop = True  # it may have been stopped while it was played

    def _dispatch(self) -> None:
        with self._lock:
            if self._must_drop:
                self._must_drop = False
                for unwanted in self._queue.drop(self._is_unwanted):
                    unwanted.answer_unplayed(Status.STOPPED, "stopped")
            for process in self._processes:
                for number in process.known_tasks - self._tasks.keys():
                    process.known_tasks.remove(number)
                    process.closing.add(number)
                    process.close_by_s = time.monotonic() + CLOSE_S
                    process.tell(number)
                # A job that is sent to a process which closes an environment would be blamed for a close that hangs.
                if not process.pid or process.is_dying or process.is_watched:
                    continue
                if pending := self._queue.take():
                    number = pending.job.task_number
                    if number not in process.known_tasks:
                        process.known_tasks.add(number)
                        shared = self._tasks[number]
                        process.tell(shared.message, shared.weights_fd)
                    self._words[process.index, 1:] = 0, time.monotonic_ns()
                    process.pending, pending.sent_at = pending, time.monotonic()
                    process.tell((pending.number, pending.job))

    def _is_unwanted(self, pending: Pending) -> bool:
        return pending.stopped_at is not None or pending.job.task_number not in self._tasks

    def _kill_overdue(self) -> None:
        places = self._words[:, 1].tolist()  # before the times: the processes write them in the other order
        watched = {process.pid: process for process in self._processes if process.is_watched}
        verdicts = self._deadlines.look([self._playing(process) for process in watched.values()])
        for pid, verdict in verdicts.items():
            # Of episodes that are played together none is to blame yet, and none whose process stands still.
            process = watched[pid]
            process.overdue_place = places[process.index] if verdict is Verdict.OVERDUE else SEVERAL
            process.kill()

    def _playing(self, process: Process) -> Playing:
        """Return since when, and how long at most, a process plays an episode or closes environments."""
        if process.pending is None:
            return Playing(process.pid, process.close_by_s - CLOSE_S, CLOSE_S)
        return Playing(process.pid, int(self._words[process.index, 2]) / 1e9, process.pending.timeout_s)

    def _shut_down(self) -> None:
        with self._lock:
            self._closing = True
            running = [process.pending for process in self._processes if process.pending]
            for pending in [*self._queue, *running]:
                pending.batch.fail(self._failure)
            self._queue.drop(lambda pending: True)
            for process in self._processes:
                process.channel.close()
            for shared in self._tasks.values():
                os.close(shared.weights_fd)
            self._tasks.clear()
            self._words = self._words.copy()  # whoever still looks at them finds the last state
            self._mapping.close()
            self._selector.close()
            self._wake_reader.close()
            self._wake_writer.close()
        self._server.close()
