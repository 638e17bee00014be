"""Progress fits 80 columns whatever the numbers, on a terminal and off it."""

from __future__ import annotations

import asyncio
import io
import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from gadask.algorithms.algorithm import Elite
from gadask.clusters.base import NodeCounts
from gadask.config import BudgetConfig, Config
from gadask.console import progress
from gadask.console.progress import ProgressDisplay, generation_line, nodes_line
from gadask.master.budget import budget_share
from gadask.master.generation import Generation, Progress
from gadask.master.summary import Timing
from gadask.record.directory import State
from gadask.sweeps import progress as sweep_progress
from gadask.sweeps.progress import SweepDisplay
from gadask.sweeps.progress import generation_line as generation_line_of_a_study

FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 10**18)
TIMING = Timing(wall_s=8.0, process_s=496.0, busy_s=471.2, discarded_s=0.0, nodes=2, processes=62)
PROGRESS = Progress(
    generation=12, n_counted=250, n_wanted=1000, best=1234.0, elite=Elite((1,), 2755.7, 30, 11), frames=250_000_000,
    frames_played=9_000_000, elapsed_s=3600.0, nodes=2, processes=62,
)  # fmt: skip
CONFIG = Config(budget=BudgetConfig(frames=1e9))


def generation(
    number: int = 7, best: float = 1040.0, median: float = 120.0, elite: float | None = 880.3, frames: int = 2_340_000,
    new_frames: int = 160_000, wall_s: float = 8.0,
) -> Generation:  # fmt: skip
    played = {"timing": {"played": {"frames": new_frames}}}
    line = {"children": {"quantiles": {"0.5": median, "1": best}}, "frames": 2 * new_frames, **played}
    crowned = None if elite is None else Elite((1,), elite, 30, number)
    return Generation(number, State(frames=frames), crowned, replace(TIMING, wall_s=wall_s), line)


def plain(output: str) -> list[str]:
    """The lines that a terminal was sent, control codes taken out."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output))


def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[Console, io.StringIO]:
    monkeypatch.setenv("TERM", "xterm")
    output = io.StringIO()
    return Console(file=output, force_terminal=True, width=80, highlight=False), output


class Clock:
    """Takes the place of the module `time`; stands still."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        """Return what the test set."""
        return self.now_s


def test_a_generation_is_one_line() -> None:
    assert generation_line(generation(), "frames") == (
        "gen    7  best     1,040 median       120 elite     880.3 2.34M frames   20k/s"
    )
    assert generation_line(generation(elite=None, new_frames=0), "steps") == (
        "gen    7  best     1,040 median       120 elite         - 2.34M steps     0/s"
    )


@given(st.integers(0, 999_999), FINITE, FINITE, st.none() | FINITE, COUNTS, COUNTS, st.just(0.0) | st.floats(1e-9, 1e9))
def test_a_generation_fits_80_columns(
    number: int, best: float, median: float, elite: float | None, frames: int, new_frames: int, wall_s: float
) -> None:
    line = generation_line(generation(number, best, median, elite, frames, new_frames, wall_s), "frames")
    assert cell_len(line) <= 80
    assert "\n" not in line


def test_a_generation_of_a_study_fits_80_columns() -> None:
    run = SimpleNamespace(name="frostbite-" * 5, study_run=SimpleNamespace(config=CONFIG))
    assert CONFIG.env.unit == "frames"
    line = generation_line_of_a_study(run, generation(9999))  # type: ignore[arg-type]
    assert cell_len(line) <= 80
    assert line.endswith("2.34M frames")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (0.98123, "0.9812"), (-1.25, "-1.25"), (99_999.9, "100,000"), (1_234_567.0, "1,234,567"),
        (-1_234_567.0, "-1.23e+06"), (-12_345.6, "-12,346"), (1.7e308, "1.7e+308"), (-1.7e308, "-1.7e+308"),
        (-1.23456e-7, "-1.23e-07"),
    ],
)  # fmt: skip
def test_scores_keep_the_digits_that_fit(number: float, text: str) -> None:
    assert f"best {text:>9} " in generation_line(generation(best=number), "frames")


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (0, "0"), (999, "999"), (1000, "1k"), (12_345, "12.3k"), (999_499, "999k"), (999_500, "1M"), (999_999, "1M"),
        (999_999_999, "1G"), (6_000_000_000, "6G"), (1_230_000_000_000, "1.23T"), (10**18, "1E"),
    ],
)  # fmt: skip
def test_frames_have_three_digits(frames: int, text: str) -> None:
    assert f" {text:>5} frames" in generation_line(generation(frames=frames), "frames")


def test_the_budget_is_used_by_the_nearest_limit() -> None:
    assert budget_share(BudgetConfig(), 5, 1000, 3600.0) is None
    assert budget_share(BudgetConfig(elite_mean=5.0), 5, 1000, 3600.0) is None
    assert budget_share(BudgetConfig(generations=10), 5, 1000, 3600.0) == 0.5
    assert budget_share(BudgetConfig(frames=4000), 5, 1000, 3600.0) == 0.25
    assert budget_share(BudgetConfig(hours=4), 5, 1000, 3600.0) == 0.25
    assert budget_share(BudgetConfig(generations=10, frames=4000, hours=1), 5, 1000, 3600.0) == 1.0


def test_plain_output_is_one_line_a_generation() -> None:
    output = io.StringIO()
    with ProgressDisplay(CONFIG, Console(file=output, force_terminal=False, width=40)) as display:
        display.update(PROGRESS)
        display.close_generation(generation(7))
        display.update(PROGRESS)
        display.close_generation(generation(8))
    assert output.getvalue() == "".join(f"{generation_line(generation(n), 'frames')}\n" for n in (7, 8))


def test_a_terminal_shows_where_the_run_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = terminal(monkeypatch)
    clock = Clock(100.0)
    monkeypatch.setattr(progress, "time", clock)
    with ProgressDisplay(CONFIG, console) as display:
        display.close_generation(generation())
        display.update(PROGRESS)
        clock.now_s = 110.0
        output.truncate(0)
        filled_in = 100_000
        frames, played = PROGRESS.frames + 248_000 + filled_in, PROGRESS.frames_played + 248_000
        display.update(replace(PROGRESS, frames=frames, frames_played=played))
        shown = "\n".join(plain(output.getvalue()))
    for text in ("generation 12", "250/1000 episodes", "best 1,234", "elite 2,756", "2 × 31 processes, 95% busy"):
        assert text in shown
    assert "25%" in shown
    assert "ETA 2:59:" in shown  # a quarter took an hour
    assert "24.8k/s, 400/core" in shown


def test_a_large_run_is_shown_uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = terminal(monkeypatch)
    with ProgressDisplay(Config(budget=BudgetConfig(frames=6e9)), console) as display:
        display.close_generation(generation(12_345))
        display.update(
            replace(
                PROGRESS,
                generation=12_345,
                n_counted=1000,
                frames=5_432_100_000,
                best=-12_345.6,
                nodes=99,
                processes=3069,
            )
        )
    lines = plain(output.getvalue())
    assert any("99 × 31 processes, 95% busy" in line for line in lines)
    assert not any("…" in line for line in lines)
    assert max(map(cell_len, lines)) <= 80


def test_rates_forget_what_is_long_past(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = terminal(monkeypatch)
    clock = Clock(0.0)
    monkeypatch.setattr(progress, "time", clock)
    with ProgressDisplay(CONFIG, console) as display:
        display.update(replace(PROGRESS, frames_played=0))
        clock.now_s = 1000.0
        display.update(replace(PROGRESS, frames_played=10**6))
        clock.now_s = 1010.0
        output.truncate(0)
        display.update(replace(PROGRESS, frames_played=10**6 + 1000))
        assert "100/s" in output.getvalue()


def test_an_overrun_budget_is_shown_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = terminal(monkeypatch)
    with ProgressDisplay(CONFIG, console) as display:
        display.update(replace(PROGRESS, frames=1_010_000_000))
    shown = "\n".join(plain(output.getvalue()))
    assert "100%" in shown
    assert "ETA 0:00" in shown


@given(
    st.builds(
        Progress,
        generation=st.integers(0, 10**9), n_counted=COUNTS, n_wanted=COUNTS, best=FINITE | st.just(-math.inf),
        elite=st.none() | st.builds(Elite, st.just((1,)), FINITE, st.just(30), st.just(0)), frames=COUNTS,
        frames_played=COUNTS, elapsed_s=st.floats(0, 1e12), nodes=st.integers(0, 10**6),
        processes=st.integers(0, 10**8),
    ),
    st.sampled_from([BudgetConfig(), BudgetConfig(frames=1e9), BudgetConfig(generations=3, hours=1e-9)]),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_the_display_fits_80_columns(shown: Progress, budget: BudgetConfig, closed: bool) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        console, output = terminal(monkeypatch)
        monkeypatch.setattr(progress, "time", Clock(5.0))  # no time passes: no rate
        with ProgressDisplay(Config(budget=budget), console) as display:
            if closed:
                display.close_generation(generation(best=-1.7e308, median=1.7e308, elite=-1e300))
            display.update(shown)
            display.update(shown)
    lines = plain(output.getvalue())
    assert any(line.startswith("gen") for line in lines)
    assert (
        len([line for line in lines if line.strip()]) <= closed + 3 * 3
    )  # drawn thrice, also at the end; no line folded
    assert max(map(cell_len, lines)) <= 80


def test_a_display_that_fails_gives_the_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = terminal(monkeypatch)

    def interrupted() -> None:
        with ProgressDisplay(CONFIG, console) as display:
            display.update(PROGRESS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert output.getvalue().rfind("\x1b[?25h") > output.getvalue().rfind("\x1b[?25l") >= 0  # cursor on again


WAITING = NodeCounts(wanted=8, running=6, pending=2, lost=1, pending_reason="Resources", core_hours=123.45)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (NodeCounts(wanted=2, running=2), "nodes: 2 of 2 running"),
        (WAITING, "nodes: 6 of 8 running, 2 pending (Resources), 1 lost, 123.5 core-hours"),
        (NodeCounts(wanted=8, running=0, pending=8), "nodes: 0 of 8 running, 8 pending"),
        (NodeCounts(wanted=2, running=0, pending=1, starting=1, pending_reason="Priority"),
         "nodes: 0 of 2 running, 1 pending (Priority), 1 starting"),
        (NodeCounts(wanted=2, running=1, lost=3, core_hours=2e4), "nodes: 1 of 2 running, 3 lost, 20k core-hours"),
        (
            replace(WAITING, pending_reason="ReqNodeNotAvail, Reserved for maintenance"),
            "nodes: 6 of 8 running, 2 pending (ReqNodeNotAvail, …), 1 lost, 123.5 core-hours",
        ),
    ],
)  # fmt: skip
def test_nodes_are_one_line(counts: NodeCounts, text: str) -> None:
    assert nodes_line(counts) == text


NODES = st.integers(0, 99_999)


@given(st.builds(NodeCounts, NODES, NODES, NODES, NODES, NODES, st.text(), st.floats(0, 1e18)))
def test_nodes_fit_80_columns(counts: NodeCounts) -> None:
    line = nodes_line(counts)
    assert len(line) < 80
    assert len(line.splitlines()) == 1


def test_a_terminal_shows_the_nodes_before_anything_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = terminal(monkeypatch)
    clock = Clock(100.0)
    monkeypatch.setattr(progress, "time", clock)
    with ProgressDisplay(CONFIG, console, counts=lambda: WAITING) as display:
        display.refresh()
        assert any(nodes_line(WAITING) in line for line in plain(output.getvalue()))
        assert "generation" not in output.getvalue()
        output.truncate(0)
        display.update(PROGRESS)
        assert output.getvalue() == ""  # too soon
        clock.now_s += 1
        display.update(PROGRESS)
        shown = plain(output.getvalue())
    assert any("generation 12" in line for line in shown)
    assert any(nodes_line(WAITING) in line for line in shown)


def test_plain_output_tells_of_nodes_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100.0)
    monkeypatch.setattr(progress, "time", clock)
    output = io.StringIO()
    counts = NodeCounts(wanted=2, running=2)
    display = ProgressDisplay(CONFIG, Console(file=output, force_terminal=False, width=40), counts=lambda: counts)
    display.update(PROGRESS)
    assert output.getvalue() == ""  # nothing is amiss
    counts = NodeCounts(wanted=2, running=1, pending=1, pending_reason="Priority", core_hours=1.0)
    display.refresh()
    counts = replace(counts, core_hours=2.0)
    clock.now_s += 60
    display.refresh()
    assert output.getvalue() == "nodes: 1 of 2 running, 1 pending (Priority)\n"
    counts = NodeCounts(wanted=2, running=2, lost=1)
    display.refresh()
    counts = replace(counts, lost=2)
    display.refresh()  # seconds after the last line
    clock.now_s += 60
    display.refresh()
    assert output.getvalue().splitlines()[1:] == ["nodes: 2 of 2 running, 1 lost", "nodes: 2 of 2 running, 2 lost"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_nodes_that_are_made_ready_are_spoken_of(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100.0)
    monkeypatch.setattr(progress, "time", clock)
    console, output = terminal(monkeypatch)
    console = console if is_terminal else Console(file=output, force_terminal=False, width=40)
    counts = NodeCounts(wanted=1, running=0)
    line = "making the noise table (1 GB) and starting the rollout processes …"

    def lines() -> int:
        display.refresh()
        clock.now_s += 0.6
        found = [*plain(output.getvalue())].count(line)
        output.seek(0)
        output.truncate()
        return found

    with ProgressDisplay(CONFIG, console, counts=lambda: counts) as display:
        assert [lines() for _ in range(4)] == [0, 0, 0, 0]  # no node has come
        counts = NodeCounts(wanted=1, running=1)
        assert [lines() for _ in range(4)] == ([0, 0, 1, 1] if is_terminal else [0, 0, 1, 0])
        display.update(PROGRESS)
        lines()
        assert [lines() for _ in range(2)] == [0, 0]


def test_a_display_is_kept_fresh_while_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REFRESH_S", 0.001)

    async def wait_for_third_refresh() -> set[asyncio.Task[Any]]:
        n_calls, third = 0, asyncio.Event()

        def counts() -> NodeCounts:
            nonlocal n_calls
            n_calls += 1
            if n_calls == 3:
                third.set()
            return WAITING

        display = ProgressDisplay(CONFIG, Console(file=io.StringIO(), force_terminal=True, width=80), counts=counts)
        async with display.kept_fresh():
            await asyncio.wait_for(third.wait(), 10)
        return asyncio.all_tasks() - {this for this in [asyncio.current_task()] if this}

    assert asyncio.run(wait_for_third_refresh()) == set()  # nothing is left that could refresh it


def test_a_sweep_without_a_terminal_tells_of_nodes_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_NODES_LINE_EVERY_S", 0.0)
    monkeypatch.setattr(sweep_progress, "_REFRESH_S", 0.001)
    queued = NodeCounts(wanted=2, running=0, pending=2, pending_reason="Priority")
    told = iter([queued, replace(queued, core_hours=1.0), replace(queued, running=2, pending=0)])
    output = io.StringIO()

    async def main() -> None:
        all_told = asyncio.Event()
        last = queued

        def counts() -> NodeCounts:
            nonlocal last
            if (now := next(told, None)) is None:
                all_told.set()
            last = now or last
            return last

        with SweepDisplay(Console(file=output, force_terminal=False, width=40)) as display:
            async with display.kept_fresh([], counts):
                await asyncio.wait_for(all_told.wait(), 10)

    asyncio.run(main())
    assert output.getvalue().splitlines() == ["nodes: 0 of 2 running, 2 pending (Priority)", "nodes: 2 of 2 running"]
