"""Where the process time went."""

from __future__ import annotations

import pandas as pd
import pytest

from gadask.analysis.process_time import plot_process_time
from tests.analysis.pages import sources


def generations(n: int) -> pd.DataFrame:
    return pd.DataFrame({"generation": range(n), "busy_s": 6.0, "discarded_s": 3.0, "idle_s": 1.0})


def test_shares_are_stacked_up_to_the_whole() -> None:
    plot = plot_process_time(generations(3))
    (source,) = sources(plot, "busy_s")
    labels = [item.label.value for item in plot.legend[0].items]
    assert labels == ["busy", "discarded", "idle or other runs"]  # of a sweep
    assert source["left"].tolist() == [-0.5, 0.5, 1.5]
    assert source["above_busy_s"].tolist() == source["below_discarded_s"].tolist() == [60.0] * 3
    assert source["above_discarded_s"].tolist() == [90.0] * 3
    assert source["above_idle_s"].tolist() == pytest.approx([100.0] * 3)


def test_many_generations_are_grouped() -> None:
    (source,) = sources(plot_process_time(generations(1001)), "busy_s")
    assert len(source["left"]) == 201
    assert source["first"][1] == 5
    assert source["last"][-1] == 1000
    assert source["right"][-1] == 1000.5


def test_no_process_time_at_all_is_drawn_as_nothing() -> None:
    (source,) = sources(plot_process_time(generations(1).assign(busy_s=0.0, discarded_s=0.0, idle_s=0.0)), "busy_s")
    assert source["above_idle_s"].tolist() == [0.0]
