"""Nodes with other processors play on, and the run says how much each played."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gadask.clusters.local import local_cluster
from gadask.master.books import Books
from gadask.master.dispatch import Arrival
from gadask.master.evolve import evolve
from gadask.node import plugin
from gadask.record.directory import read_generations
from gadask.record.generations import LOG, cpu_shares
from gadask.record.provenance import cpu_text
from gadask.rows import Rows
from tests.conftest import eventually, faulty_config

pytestmark = pytest.mark.usefixtures("no_leaks")

OTHER = "Another CPU, AVX2"


def be_another(dask_worker: Any) -> None:
    from gadask.node import plugin

    setattr(plugin, "cpu_text", lambda: OTHER)  # noqa: B010


def test_the_log_counts_what_each_processor_played(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = faulty_config(step_s=0.002)

    async def main() -> None:
        async with local_cluster(2) as cluster:
            client = cluster.client
            await client.register_plugin(plugin.NodePlugin(config.noise, 1))
            await client.run(be_another, workers=[next(iter(await client.run(plugin.describe)))])
            async for generation in evolve(config, client, tmp_path / "run", n_processes=1):
                if generation.number == 0:
                    await eventually(lambda: warnings(caplog), 60, "both nodes are met")

    asyncio.run(main())
    (warning,) = warnings(caplog)
    assert f"{OTHER}; {cpu_text()}" in warning or f"{cpu_text()}; {OTHER}" in warning
    timings = [line["timing"] for line in read_generations(tmp_path / "run")]
    assert [sum(timing["cpus"].values()) for timing in timings] == [timing["played"]["episodes"] for timing in timings]
    assert set().union(*(timing["cpus"] for timing in timings)) == {OTHER, cpu_text()}
    assert f"% on {OTHER}" in cpu_shares(tmp_path / "run")


def test_what_was_filled_from_other_episodes_counts_for_no_processor() -> None:
    books, rows = Books(), Rows(np.zeros(3, Rows().table.dtype))
    for node, are_filled in (("a", False), ("a", True), ("b", False), ("new", False)):
        books.add(Arrival(node, rows, are_filled), np.zeros(3, np.uint8))
    assert books.episodes_by({"a": "Zen", "b": "Zen"}) == {"Zen": 6, "unknown": 3}


@pytest.mark.parametrize(
    ("played", "text"),
    [
        ([{}, {}], ""),
        ([{"Zen": 3}, {}], ""),
        ([{"Zen": 3, "unknown": 1}], ""),
        ([{"Zen": 3}, {"Zen": 3, "Xeon": 2}], "75.0% on Zen; 25.0% on Xeon"),
    ],
)
def test_a_run_says_what_each_processor_played_where_there_are_several(
    played: list[dict[str, int]], text: str, tmp_path: Path
) -> None:
    lines = (json.dumps({"generation": n, "timing": {"cpus": cpus} if cpus else {}}) for n, cpus in enumerate(played))
    (tmp_path / LOG).write_text("".join(f"{line}\n" for line in lines))
    assert cpu_shares(tmp_path) == text


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("nodes have different CPUs")]
