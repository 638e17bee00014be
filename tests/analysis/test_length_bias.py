"""The bias towards short episodes."""

from __future__ import annotations

import heapq

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gadask.analysis.length_bias import close_at_first, finished_children, first_n_closing, plot_length_bias
from tests.analysis.pages import sources


def children(steps: list[int], returns: list[float] | None = None, generation: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"steps": steps, "return": returns or [1.0] * len(steps)}).assign(
        kind="child", status="ok", counted=True, seconds=lambda table: table["steps"] / 100, recorded_in=generation
    )


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.01, 50), min_size=1, max_size=12), st.integers(1, 40), st.integers(1, 60), st.integers(0, 99)
)
def test_the_first_results_are_those_of_processes_that_never_wait(
    lengths: list[float], n: int, n_processes: int, seed: int
) -> None:
    seconds = np.array(lengths)
    closing = close_at_first(seconds, n, n_processes, np.random.default_rng(seed))
    assert len(closing.counted) == n
    # The same draws, event by event.
    drawn = _draws(seconds, n, n_processes, np.random.default_rng(seed))
    events = [(seconds[row[0]], process, 0) for process, row in enumerate(drawn)]
    heapq.heapify(events)
    counted: list[int] = []
    now = 0.0
    while len(counted) < n:
        now, process, turn = heapq.heappop(events)
        counted.append(drawn[process][turn])
        if turn + 1 < len(drawn[process]):
            heapq.heappush(events, (now + seconds[drawn[process][turn + 1]], process, turn + 1))
    assert sorted(seconds[counted]) == pytest.approx(sorted(seconds[closing.counted]))
    assert closing.discarded_share == pytest.approx(1 - seconds[counted].sum() / (n_processes * now), abs=1e-9)
    assert -1e-9 <= closing.discarded_share < 1


def _draws(seconds: np.ndarray, n: int, n_processes: int, rng: np.random.Generator) -> list[list[int]]:
    drawn = rng.integers(len(seconds), size=(n_processes, -(-n // n_processes) + 1))
    while (
        np.cumsum(seconds[drawn], axis=1)[:, -1] < np.sort(np.cumsum(seconds[drawn], axis=1), axis=None)[n - 1]
    ).any():
        drawn = np.hstack([drawn, rng.integers(len(seconds), size=drawn.shape)])
    rows: list[list[int]] = drawn.tolist()
    return rows


def test_one_process_is_fair_and_as_many_as_children_take_the_shortest() -> None:
    rng = np.random.default_rng(1)
    seconds = np.array([1.0] * 50 + [100.0] * 50)
    alone = close_at_first(seconds, 2000, 1, rng)
    assert seconds[alone.counted].mean() == pytest.approx(50.5, rel=0.1)
    assert alone.discarded_share == pytest.approx(0)
    many = close_at_first(seconds, 1000, 5000, rng)
    assert (seconds[many.counted] == 1.0).all()
    assert many.discarded_share == pytest.approx(1 - 1000 / 5000)


def test_more_processes_bias_more_and_good_long_episodes_are_lost() -> None:
    rng = np.random.default_rng(0)
    steps = rng.geometric(1 / 300, 200)
    table = first_n_closing(children(steps.tolist(), steps.astype(float).tolist()), population=200, parents=10)
    assert table["processes"].tolist() == [31, 248, 720, 5000]
    assert table["length"].is_monotonic_decreasing
    assert table["length"].iloc[-1] < 0.2
    assert table["discarded_share"].is_monotonic_increasing
    assert table["parents_return"].is_monotonic_decreasing
    assert table["parents_return_of_all"].std() < 0.05 * table["parents_return_of_all"].mean()
    pd.testing.assert_frame_equal(
        table, first_n_closing(children(steps.tolist(), steps.astype(float).tolist()), population=200, parents=10)
    )


def test_what_was_filled_in_takes_as_long_as_what_it_came_from() -> None:
    """Else the children that were filled in would end first, however long they are."""
    rng = np.random.default_rng(0)
    steps = rng.geometric(1 / 300, 50).tolist()
    played, again = children(steps), children(steps)
    whole = pd.concat([played, again], ignore_index=True)
    shared = pd.concat([played, again.assign(seconds=0.0)], ignore_index=True)
    table = first_n_closing(shared, population=100, parents=10)
    pd.testing.assert_frame_equal(table, first_n_closing(whole, population=100, parents=10))
    assert table["length"].iloc[-1] < 0.5


def test_without_parents_by_return_the_rest_stays_the_same() -> None:
    episodes = children([10, 10, 1000], [1.0, 2.0, 3.0])
    with_parents, without = (first_n_closing(episodes, 6, parents, processes=[50]) for parents in (2, None))
    expected = with_parents.drop(columns=["parents_return", "parents_return_of_all"])
    pd.testing.assert_frame_equal(without, expected)


def test_each_generation_is_closed_with_its_own_children() -> None:
    episodes = pd.concat([children([10, 10, 10], generation=3), children([10, 1000], generation=5)])
    table = first_n_closing(episodes, population=6, parents=2, processes=[50])
    assert table["generation"].tolist() == [3, 5]
    assert table["length"].tolist() == [1.0, pytest.approx(10 / 505)]
    many = pd.concat([children([5], generation=number) for number in range(100)])
    chosen = first_n_closing(many, population=2, parents=1, processes=[3])["generation"]
    assert len(chosen) == 24
    assert chosen.iloc[[0, -1]].tolist() == [0, 99]


def test_only_children_that_ended_well_are_drawn_from() -> None:
    episodes = pd.concat([children([7, 8, 9, 10, 11])]).assign(
        kind=["child", "evaluation", "child", "child", "child"],
        status=["ok", "ok", "stopped", "timeout", "ok"],
        counted=[True, True, False, True, False],
    )
    assert finished_children(episodes)["steps"].tolist() == [7, 11]


def test_a_large_run_is_drawn_as_a_sample_and_says_so() -> None:
    steps = np.random.default_rng(0).integers(10, 500, 10_000)
    episodes = children(steps.tolist())
    episodes.loc[::10, "counted"] = False
    generations = pd.DataFrame({"generation": [0], "counted_steps": [100.0], "all_steps": [125.0]})
    closings = first_n_closing(episodes, 100, 5, n_resamples=8)
    layout = plot_length_bias(episodes, generations, closings, 100)
    dots, lengths = layout.children[0].children
    drawn = [len(renderer.data_source.data["x"]) for renderer in dots.renderers]
    assert sum(drawn) == 4000
    assert drawn[1] == pytest.approx(400, abs=100)
    assert any("4,000 of 10,000 children" in title.text for title in dots.above)
    labels = [item.label.value for item in lengths.legend[0].items]
    assert labels[0] == f"all: mean {steps.mean():,.0f} steps"
    assert all(len(renderer.data_source.data["x"]) <= 300 for renderer in lengths.renderers)
    ratios = [list(data["y"]) for data in sources(layout.children[1], "y")]
    assert [100.0 / 125.0] in ratios
