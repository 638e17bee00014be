"""Runs that share a node get equal process time, and no process idles while any run has a job."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gadask.node.fairqueue import CREDIT_S, FairQueue


class Simulation:
    """Processes that play jobs `(run, seconds)` from a fair queue, in simulated time."""

    def __init__(self, n_processes: int) -> None:
        self.queue: FairQueue[tuple[int, float]] = FairQueue(n_processes)
        self.now_s = 0.0
        self.n_idle = n_processes
        self.running: list[tuple[float, int, float]] = []
        self.played_s: defaultdict[int, float] = defaultdict(float)
        self.order: list[int] = []

    def put(self, run: int, *seconds: float) -> None:
        for job_s in seconds:
            self.queue.put(run, (run, job_s))

    def play_until(self, end_s: float, refill: Callable[[], None] = lambda: None) -> None:
        """Play until the clock shows `end_s` or nothing is left; `refill` is called before a process looks for work."""
        while self.now_s < end_s:
            refill()
            while self.n_idle and (job := self.queue.take()):
                self.n_idle -= 1
                self.order.append(job[0])
                heapq.heappush(self.running, (self.now_s + job[1], *job))
            if not self.running:
                return
            self.now_s, run, job_s = heapq.heappop(self.running)
            self.n_idle += 1
            self.played_s[run] += job_s
            self.queue.done(run, job_s)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.2, 5.0), min_size=2, max_size=5), st.integers(1, 31))
def test_runs_that_always_have_jobs_get_equal_process_time(job_s: list[float], n_processes: int) -> None:
    simulation = Simulation(n_processes)

    def refill() -> None:
        waiting = {job[0] for job in simulation.queue}
        for run, seconds in enumerate(job_s):
            if run not in waiting:
                simulation.put(run, *[seconds] * n_processes)

    simulation.play_until(120, refill)
    shares = [simulation.played_s[run] for run in range(len(job_s))]
    assert max(shares) - min(shares) <= 3 * n_processes * max(job_s)
    assert sum(shares) >= n_processes * (120 - max(job_s))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 10.0)), max_size=60), st.integers(1, 5))
def test_every_job_is_played_once_and_no_process_idles(jobs: list[tuple[int, float]], n_processes: int) -> None:
    simulation = Simulation(n_processes)
    for run, seconds in jobs:
        simulation.put(run, seconds)
    assert len(simulation.queue) == len(jobs)
    total_s = sum(seconds for _, seconds in jobs)
    longest_s = max((seconds for _, seconds in jobs), default=0.0)
    simulation.play_until(float("inf"))
    assert len(simulation.queue) == 0
    assert Counter(simulation.order) == Counter(run for run, _ in jobs)
    assert sum(simulation.played_s.values()) == pytest.approx(total_s)
    assert simulation.now_s <= total_s / n_processes + longest_s + 1e-6  # what greedy scheduling promises


def test_jobs_of_one_run_keep_their_order() -> None:
    queue: FairQueue[str] = FairQueue(1)
    for job in "cd":
        queue.put(1, job)
    queue.put_back(1, "ab")
    assert [queue.take() for _ in range(5)] == ["a", "b", "c", "d", None]


def test_a_run_that_comes_later_is_not_owed_the_past() -> None:
    simulation = Simulation(2)
    simulation.put(0, *[1.0] * 400)
    simulation.play_until(100)
    before_s = simulation.played_s[0]
    simulation.put(1, *[1.0] * 400)
    simulation.play_until(120)
    assert simulation.played_s[1] == pytest.approx(simulation.played_s[0] - before_s, abs=3)


def test_a_short_wait_is_made_up_for_and_a_long_one_is_not() -> None:
    def lead_after_waiting(wait_s: float) -> float:
        """Return how much more run 0 had played than run 1 when both were done, at the least."""
        simulation = Simulation(1)
        simulation.put(0, *[1.0] * 1000)
        simulation.put(1, 1.0, 1.0)
        simulation.play_until(2 + wait_s)
        simulation.put(1, *[1.0] * 200)
        simulation.play_until(2 + wait_s + 100)
        return simulation.played_s[0] - simulation.played_s[1]

    assert lead_after_waiting(CREDIT_S / 2) == pytest.approx(0, abs=2)
    assert lead_after_waiting(5 * CREDIT_S) == pytest.approx(4 * CREDIT_S, abs=4)


def test_long_jobs_that_run_count_before_they_end() -> None:
    simulation = Simulation(4)
    simulation.put(0, *[50.0] * 8)
    simulation.put(1, *[50.0] * 8)
    simulation.play_until(40)
    assert simulation.order[:4] == [0, 1, 0, 1]


def test_what_is_dropped_or_was_not_played_costs_nothing() -> None:
    queue: FairQueue[str] = FairQueue(1)
    for job in ("keep", "drop", "drop"):
        queue.put(0, job)
    queue.put(1, "other")
    assert queue.drop(lambda job: job == "drop") == ["drop", "drop"]
    assert queue.take() == "keep"
    queue.done(0, 0.0)
    queue.put(0, "next")
    assert queue.take() == "next"
    assert (queue.take(), queue.take()) == ("other", None)
