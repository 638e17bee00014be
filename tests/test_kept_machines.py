"""The keeper with several machines: each has its own nodes, refusals and failures, and one question is about all."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import gadask
from gadask.clusters.jobcluster import JobCluster, job_cluster
from gadask.clusters.keeper import Keeper
from gadask.clusters.kinds import KINDS, queue_kind, queues
from gadask.clusters.machine import Machine
from gadask.clusters.periods import Periods
from gadask.clusters.queue import Job
from gadask.clusters.wanted import Wanted
from gadask.errors import ClusterError
from tests.conftest import eventually
from tests.queues import Oar

DEAF = Machine(name="a", memory="1GB", interface="lo", poll_s=1.0, preamble=("exec sleep inf",))
OTHER = dataclasses.replace(DEAF, name="b", cores=8)
QUICK = Periods(soon_s=0.5, absence_s=1.0, submit_again_s=1.0, end_absence_s=0.5)
FULL = "qsub: would exceed complex's per-user limit of jobs"


@pytest.fixture
def oar(monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> Iterator[Oar]:
    """An OAR without jobs; fails if the test leaves a job in it."""
    for name, value in {"jobs": {}, "orders": [], "refused": set(), "room": math.inf, "n_calls": 0}.items():
        monkeypatch.setattr(Oar, name, value)
    queue = Oar()
    monkeypatch.setitem(KINDS, "oar", queue_kind(queue))
    yield queue
    assert sum(living(queue).values()) == 0


def living(queue: Oar) -> Counter[str]:
    """Return the number of jobs that live, by machine."""
    return Counter(job.name.split("-")[1] for job in queue.jobs.values() if job.process.poll() is None)


def submitted(queue: Oar) -> Counter[str]:
    return Counter(job.name.split("-")[1] for job in queue.jobs.values())


def kill(queue: Oar, machine: str) -> None:
    """Kill the first job of a machine that lives."""
    jobs = [job for job in queue.jobs.values() if job.name.split("-")[1] == machine]
    os.killpg(next(job.process.pid for job in jobs if job.process.poll() is None), signal.SIGKILL)


@asynccontextmanager
async def opened(
    queue: Oar, folder: Path, *wanted: Wanted, periods: Periods = QUICK, start_timeout_s: float = 100
) -> AsyncIterator[JobCluster]:
    async with job_cluster(
        queue, queues(), wanted, folder=folder, start_timeout_s=start_timeout_s, periods=periods
    ) as cluster:
        yield cluster


def test_each_machine_is_filled_to_its_own_number_and_one_question_is_about_all(
    oar: Oar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, questions = 0, 0
    look, states = Keeper._look, Oar.states

    async def counted_look(keeper: Keeper) -> None:
        nonlocal looks
        looks += 1
        await look(keeper)

    async def counted_states(queue: Oar, marks: Collection[str], timeout_s: float) -> list[Job]:
        nonlocal questions
        questions += 1
        return await states(queue, marks, timeout_s)

    async def play() -> None:
        async with opened(oar, tmp_path, Wanted(DEAF, 2), Wanted(OTHER, 1)) as cluster:
            assert living(oar) == {"a": 2, "b": 1}
            kill(oar, "b")
            await eventually(lambda: living(oar) == {"a": 2, "b": 1} and len(oar.jobs) == 4, 60, "another of b")
            kill(oar, "a")
            await eventually(lambda: living(oar) == {"a": 2, "b": 1} and len(oar.jobs) == 5, 60, "another of a")
            await eventually(lambda: cluster.counts().starting == 3, 60, "a look at all")
            assert (cluster.counts().wanted, cluster.counts().lost, questions) == (3, 2, looks)

    monkeypatch.setattr(Keeper, "_look", counted_look)
    monkeypatch.setattr(Oar, "states", counted_states)
    asyncio.run(play())
    assert sorted(int(job.name.rpartition("-")[2]) for job in oar.jobs.values()) == list(range(5))
    assert {path.name for path in tmp_path.glob("*.sh")} == {"job-a.sh", "job-b.sh"}
    assert "ncpus=32\n" in (tmp_path / "job-a.sh").read_text()
    assert "ncpus=8\n" in (tmp_path / "job-b.sh").read_text()


def test_python_opens_several_machines_whose_nodes_are_charged_by_their_own_cores(
    oar: Oar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = Oar.states

    async def an_hour(queue: Oar, marks: Collection[str], timeout_s: float) -> list[Job]:
        return [dataclasses.replace(job, seconds=3600) for job in await states(queue, marks, timeout_s)]

    async def play() -> None:
        a, b = (dataclasses.replace(machine, preamble=()) for machine in (DEAF, OTHER))
        cluster = await gadask.cluster("oar", machine={a: 1, b: 2}, run_dir=tmp_path)
        try:
            await eventually(lambda: cluster.counts().running == 3, 100, "three nodes")
            assert cluster.counts().core_hours == pytest.approx(32 + 2 * 8, abs=0.5)
            kill(oar, "b")
            await eventually(lambda: cluster.counts().lost == 1, 60, "its end")
            await eventually(lambda: cluster.counts().core_hours > 50, 60, "another")
            assert cluster.counts().core_hours == pytest.approx(32 + 3 * 8, abs=0.5)
        finally:
            await cluster.close()

    monkeypatch.setattr(Oar, "states", an_hour)
    asyncio.run(play())


def test_no_site_is_asked_more_often_than_it_allows(oar: Oar, tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(
            oar, tmp_path, Wanted(DEAF, 1), Wanted(dataclasses.replace(OTHER, poll_s=90.0), 1)
        ) as cluster:
            assert cluster._keeper._poll_s == 90.0

    asyncio.run(play())


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "not accepted" in message]


REFUSED_B = "1 job of b not accepted, and asked for again later: qsub: Unknown queue"


def test_a_machine_that_is_refused_is_asked_for_again_and_told_of_once(
    oar: Oar, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Oar.refused.add("b")

    async def play() -> None:
        async with opened(oar, tmp_path, Wanted(DEAF, 2), Wanted(OTHER, 1)):
            assert living(oar) == {"a": 2}
            await eventually(lambda: Oar.n_calls >= 6, 60, "three more tries")
            kill(oar, "a")
            await eventually(lambda: submitted(oar) == {"a": 3}, 60, "another of a")
            assert refusals(caplog) == [REFUSED_B]
            Oar.refused.clear()
            await eventually(lambda: living(oar) == {"a": 2, "b": 1}, 60, "both")

    asyncio.run(play())
    assert refusals(caplog) == [REFUSED_B]


def test_while_one_machine_waits_for_its_next_try_another_is_filled(oar: Oar, tmp_path: Path) -> None:
    Oar.refused.add("b")

    async def play() -> None:
        periods = dataclasses.replace(QUICK, submit_again_s=1000.0)
        async with opened(oar, tmp_path, Wanted(DEAF, 2), Wanted(OTHER, 1), periods=periods):
            assert (living(oar), Oar.n_calls) == ({"a": 2}, 3)
            kill(oar, "a")
            await eventually(lambda: submitted(oar) == {"a": 3}, 60, "another of a")
            assert Oar.n_calls == 4

    asyncio.run(play())


def test_machines_that_are_all_refused_at_first_end_the_run(oar: Oar, tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(oar, tmp_path, Wanted(DEAF, 2), Wanted(OTHER, 1)):
            await asyncio.sleep(1000)

    Oar.refused.update("ab")
    with pytest.raises(ClusterError) as caught:
        asyncio.run(play())
    why, _, what = str(caught.value).partition("; compare ")
    assert sorted(why.removeprefix("the job was refused: ").split("; ")) == [
        "a: qsub: Unknown queue",
        "b: qsub: Unknown queue",
    ]
    assert what == "--machine with what the site offers"


def test_a_full_queue_is_full_for_all_machines(
    oar: Oar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Oar, "room", 2)

    async def play() -> None:
        async with opened(oar, tmp_path, Wanted(DEAF, 10), Wanted(OTHER, 10)):
            assert sum(living(oar).values()) == 2
            assert Oar.n_calls < 20  # some were handed in at once, the rest was not
            told = [re.match(rf"(\d+) jobs? of [ab] not accepted, and .*: {FULL}", line) for line in refusals(caplog)]
            assert sum(int(match[1]) for match in told if match) == 18
            first = Oar.n_calls
            await eventually(lambda: Oar.n_calls >= first + 3, 60, "three more tries")
            assert len(refusals(caplog)) == len(told)
            monkeypatch.setattr(Oar, "room", math.inf)
            await eventually(lambda: living(oar) == {"a": 10, "b": 10}, 60, "all")

    asyncio.run(play())


def test_jobs_of_one_machine_that_die_again_and_again_end_the_run_and_name_it(oar: Oar, tmp_path: Path) -> None:
    dead = tmp_path / "dead"

    async def play() -> None:
        steady = dataclasses.replace(DEAF, preamble=())
        dying = dataclasses.replace(OTHER, preamble=(f"until [ -e {dead} ]; do sleep 0.1; done", "exit 3"))
        async with opened(oar, tmp_path, Wanted(steady, 2), Wanted(dying, 1)) as cluster:
            await eventually(lambda: cluster.counts().running == 2, 100, "the nodes of a")
            dead.touch()
            await asyncio.sleep(1000)

    with pytest.raises(ClusterError, match=r"^4 jobs of b died in 0\.0 node-hours, .* = 4 allows; the last was job "):
        asyncio.run(play())
    assert submitted(oar) == {"a": 2, "b": 4}
