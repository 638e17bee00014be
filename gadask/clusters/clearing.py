"""Clearing up after a master: its jobs are cancelled, its keys and its record are deleted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from gadask.clusters.base import Cluster
from gadask.clusters.jobrecord import EarlierJobs, EarlierStart, has_record, read_earlier, remove_record
from gadask.clusters.periods import Periods
from gadask.clusters.queue import Queue
from gadask.clusters.security import locked_folder, remove_keys
from gadask.errors import ClusterError

_logger = logging.getLogger(__name__)


async def cancel_marked(
    queue: Queue, marks: Collection[str], expected: Collection[str], periods: Periods, *, in_doubt: bool = False
) -> bool:
    """Cancel all jobs with these marks until none waits or runs; returns whether that is certain.

    One answer may lack a job. So a second one is asked for, unless the first has all of `expected`, numbers of jobs
    that may be left, as ended; with `in_doubt` there may be jobs without a known number. Warns if jobs may be left.
    """
    if not marks:
        return True
    found = ""
    try:
        async with asyncio.timeout(periods.end_s):
            none_since: float | None = None
            while True:
                try:
                    jobs = await queue.states(marks, periods.command_s)
                    left = [job.job_id for job in jobs if job.state.is_to_cancel]
                    found = "" if left else found
                    if left:
                        none_since = None
                        await queue.cancel(left, periods.command_s)
                    elif not in_doubt and {job.job_id for job in jobs}.issuperset(expected):
                        return True
                    elif none_since is None:
                        none_since = time.monotonic()
                    elif time.monotonic() - none_since >= periods.end_absence_s:
                        return True
                except ClusterError as error:
                    found = f": {error}"
                await asyncio.sleep(periods.end_poll_s)
    except TimeoutError:
        by_hand = f"{queue.by_hand} shows jobs with {_in_words(marks)} in their names"
        if expected:
            by_hand = f"{queue.commands[-1]} {' '.join(expected)}; {by_hand}"
        _logger.error(
            "jobs may be left in the queue, which does not answer or does not let them go%s; %s", found, by_hand
        )
        return False


async def cancel_earlier(folder: Path, queues: Mapping[str, Queue], periods: Periods) -> EarlierJobs:
    """Cancel the jobs of masters that were killed, and remove their keys; returns what is left to be cancelled.

    `queues` are all that there are, by name. The folder is locked. Raises `RecordError` if the record cannot be
    removed.
    """
    earlier = read_earlier(folder, " or ".join(queue.by_hand for queue in queues.values()))
    earlier.remove_keys()
    left: list[EarlierStart] = []
    for name in sorted({start.queue for start in earlier.starts}):
        jobs, queue = earlier.within(name), queues.get(name)
        if queue is None or not queue.is_here():
            _logger.warning(
                "%s: jobs of an earlier start may be left in a queue that is not asked here, %s: those with %s in their"
                " names%s",
                folder,
                name,
                _in_words(jobs.marks),
                f", such as {' '.join(jobs.job_ids)}" if jobs.job_ids else "",
            )
            left += jobs.starts
        elif not await cancel_marked(queue, jobs.marks, jobs.job_ids, periods, in_doubt=True):
            left += jobs.starts
    if not left:
        remove_record(folder)
    return EarlierJobs(tuple(left))


async def clear_earlier(folder: Path, queues: Mapping[str, Queue], periods: Periods) -> None:
    """Do what an earlier start with a queue left to do in its folder, for a run that goes on without one.

    Raises `RunDirectoryError` if another master uses the folder.
    """
    if not folder.exists():
        return
    with locked_folder(folder):
        if has_record(folder):
            await cancel_earlier(folder, queues, periods)
        remove_keys(folder)


def _in_words(marks: Collection[str]) -> str:
    return " or ".join(f"-{mark}-" for mark in sorted(marks))


@asynccontextmanager
async def cleared(
    folder: Path | None, queues: Mapping[str, Queue], opening: AbstractAsyncContextManager[Cluster]
) -> AsyncIterator[Cluster]:
    """Open a cluster once what an earlier start with a queue left is cleared away."""
    if folder is not None:
        await clear_earlier(folder, queues, Periods())
    async with opening as cluster:
        yield cluster
