"""Clearing up after a master: its jobs leave the queue, its keys and its record the disk."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from gadask.clusters.base import Cluster
from gadask.clusters.jobrecord import EarlierJobs, has_record, read_earlier, remove_record
from gadask.clusters.periods import Periods
from gadask.clusters.security import locked_folder, remove_keys
from gadask.clusters.slurm import cancel, marked_jobs
from gadask.errors import ClusterError

_logger = logging.getLogger(__name__)


async def cancel_marked(
    marks: Collection[str], expected: Collection[str], periods: Periods, *, in_doubt: bool = False
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
                    jobs = await marked_jobs(marks, periods.command_s)
                    left = [job.job_id for job in jobs if job.to_cancel]
                    found = "" if left else found
                    if left:
                        none_since = None
                        await cancel(left, periods.command_s)
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
        names = " or ".join(f"-{mark}-" for mark in sorted(marks))
        by_hand = f"squeue --me --format='%A %j' shows jobs with {names} in their names"
        if expected:
            by_hand = f"scancel {' '.join(expected)}; {by_hand}"
        _logger.error("jobs may be left in the queue, for it does not answer or let them go%s; %s", found, by_hand)
        return False


async def cancel_earlier(folder: Path, periods: Periods) -> EarlierJobs:
    """Cancel the jobs of masters that were killed, and remove their keys; returns what is left to be cancelled.

    The folder is locked. Raises `RecordError` if the record cannot be removed.
    """
    earlier = read_earlier(folder)
    earlier.remove_keys()
    if earlier.marks and not await cancel_marked(earlier.marks, earlier.job_ids, periods, in_doubt=True):
        return earlier
    remove_record(folder)
    return EarlierJobs()


async def clear_earlier(folder: Path, periods: Periods) -> None:
    """Do what an earlier start on Slurm left to do in its folder, for a run that goes on without it.

    Raises `RunDirectoryError` if another master uses the folder.
    """
    if not folder.exists():
        return
    with locked_folder(folder):
        if has_record(folder) and shutil.which("squeue") is None:
            _logger.warning("%s: jobs of an earlier start may be left in a queue that is not asked here", folder)
        elif has_record(folder):
            await cancel_earlier(folder, periods)
        remove_keys(folder)


@asynccontextmanager
async def cleared(folder: Path | None, opening: AbstractAsyncContextManager[Cluster]) -> AsyncIterator[Cluster]:
    """Open a cluster once what an earlier start on Slurm left is cleared away."""
    if folder is not None:
        await clear_earlier(folder, Periods())
    async with opening as cluster:
        yield cluster
