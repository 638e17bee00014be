"""Whole runs on a real Dask cluster with processes: determinism, closing rules, faults 1, 2, 5, 6, 9, 10."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client

from gadask.algorithms.algorithm import Brood
from gadask.algorithms.elites import rank
from gadask.clusters.local import local_cluster
from gadask.config_tables import Closing, EliteEvaluation, Late, Truncation
from gadask.genomes.genome import count_genes, from_text, to_text
from gadask.master import dispatch
from gadask.master.budget import budget_reached
from gadask.master.evaluate import evaluate_elite
from gadask.master.evolve import evolve, evolve_blocking
from gadask.master.generation import Generation, Progress
from gadask.master.task import prepare_task
from gadask.messages import Task, pack_brood
from gadask.node import plugin
from gadask.record.directory import read_episodes, read_generations, read_run
from tests.conftest import command_line, eventually, faulty_config, is_of_fork_server
from tests.genomes import child_genome, draw_child, scored
from tests.local_runs import checkpoint, log, run

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return log and checkpoint of the undisturbed run that the others must equal."""
    run_dir = tmp_path_factory.mktemp("expected") / "run"
    return run(faulty_config(), run_dir, processes=1), checkpoint(run_dir)


Expected = tuple[list[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize(("nodes", "processes"), [(1, 2), (2, 2)])
def test_the_result_does_not_depend_on_the_machines(
    expected: Expected, tmp_path: Path, nodes: int, processes: int
) -> None:
    assert (run(faulty_config(), tmp_path / "run", nodes=nodes, processes=processes), checkpoint(tmp_path / "run")) == (
        expected
    )


def test_parents_of_any_size_are_those_of_their_generation(
    expected: Expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack_large(task: Task, brood: Brood) -> bytes:
        return pack_brood(task, brood) + bytes(200_000)  # what follows a pickle is not read

    monkeypatch.setattr(dispatch, "pack_brood", pack_large)
    assert run(faulty_config(), tmp_path / "run") == expected[0]


def test_the_log_follows_from_the_episodes(expected: Expected, tmp_path: Path) -> None:
    config = faulty_config()
    lines = run(config, tmp_path / "run")
    n_genes = count_genes(config.noise.size, prepare_task(config).n_params)
    for number, line in enumerate(lines):
        episodes = read_episodes(tmp_path / "run", number).to_pandas()
        children = episodes[episodes.kind == "child"].set_index("slot").sort_index()
        assert list(children.index) == list(range(config.generation.population))
        assert (children.status == "ok").all()
        parents = [from_text(text) for text in line["parents"]]
        genomes = {}
        for slot, row in children.iterrows():
            assert (row.parent, row.gene) == draw_child(config.seed, number, slot, parents, n_genes)
            genomes[slot] = to_text(child_genome(parents, row.parent, row.gene))
        best = children.sort_values(["return"], ascending=False, kind="stable").index[: config.ga.parents]
        elite = line["elite"]["genome"]
        survivors = [genomes[slot] for slot in best]
        if elite not in survivors:
            survivors = [elite, *survivors[:-1]]
        if number + 1 < len(lines):
            assert lines[number + 1]["parents"] == survivors
        evaluations = episodes[episodes.kind == "evaluation"]
        means = evaluations.groupby("slot")["return"].mean()
        assert line["elite"]["mean"] == pytest.approx(means.max())
        assert line["candidates"][int(means.idxmax())]["genome"] == elite
    assert lines[-1]["total"]["episodes"] == 4 * (24 + 3 * 4)


def test_a_killed_rollout_process_changes_nothing(expected: Expected, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        if progress.generation == 1 and not killed:
            victims = [p for p in psutil.Process().children(recursive=True) if is_of_fork_server(p)]
            victims = [p for p in victims if is_of_fork_server(p.parent())]
            killed.append(victims[0].pid)
            os.kill(victims[0].pid, signal.SIGKILL)

    assert run(faulty_config(), tmp_path / "run", on_progress=kill_one) == expected[0]
    assert killed


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_killed_worker_changes_nothing(expected: Expected, tmp_path: Path, nodes: int) -> None:
    killed: list[psutil.Process] = []

    def kill_one(progress: Progress) -> None:
        if progress.generation == 1 and progress.n_counted and not killed:
            workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(command_line(p))]
            killed.extend(workers[:1] + workers[0].children(recursive=True))
            os.kill(workers[0].pid, signal.SIGKILL)

    lines = run(faulty_config(step_s=0.001), tmp_path / "run", nodes=nodes, on_progress=kill_one)
    assert len(killed) > 2
    assert not psutil.wait_procs(killed, timeout=20)[1]
    assert [line["parents"] for line in lines] == [line["parents"] for line in expected[0]]
    assert [line["elite"] for line in lines] == [line["elite"] for line in expected[0]]


def test_nodes_come_and_go(expected: Expected, tmp_path: Path) -> None:
    seen: list[set[str]] = []

    async def scale(client: Client, generation: Generation) -> None:
        cluster = client.cluster
        if generation.number == 0:
            cluster.scale(2)
            await client.wait_for_workers(2, timeout=60)

            async def all_described() -> bool:
                return None not in (await client.run(plugin.describe)).values()

            await eventually(all_described, 60, "the second node can play")
        if generation.number == 2:
            cluster.scale(1)
        table = read_episodes(tmp_path / "run", generation.number)
        seen.append(set(table["node"].to_pylist()))

    lines = run(faulty_config(step_s=0.005), tmp_path / "run", on_generation=scale)
    assert lines == expected[0]
    assert len(seen[0]) == 1
    assert max(len(nodes) for nodes in seen[1:]) == 2


def test_a_node_with_another_noise_table_is_refused(
    expected: Expected, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = faulty_config()
    run(replace(config, budget=replace(config.budget, generations=1)), tmp_path / "run")

    def corrupt(dask_worker: Any) -> None:
        dask_worker.plugins["gadask"].node.digest = "bad0bad0"

    async def main() -> set[str]:
        async with local_cluster(2) as cluster:
            client = cluster.client
            await client.register_plugin(plugin.NodePlugin(config.noise, 1))
            bad = next(iter(await client.run(plugin.describe)))
            await client.run(corrupt, workers=[bad])
            async for _ in evolve(config, client, tmp_path / "run", resume=True, n_processes=1):
                pass
            return {bad}

    bad = asyncio.run(main())
    assert log(tmp_path / "run") == expected[0]
    digest = read_run(tmp_path / "run")[1].noise_digest
    told = [message for message in caplog.messages if "a node is refused and plays nothing: " in message]
    assert len(told) == 1
    assert all(part in told[0] for part in (*bad, "bad0bad0", str(digest)))
    for generation in range(1, 4):
        assert not bad & set(read_episodes(tmp_path / "run", generation)["node"].to_pylist())


@pytest.mark.parametrize("elite_evaluation", ["barrier", "overlapped"])
@pytest.mark.parametrize("truncation", ["such2017", "ga-dist"])
@pytest.mark.parametrize(("closing", "late"), [("all", "drop"), ("first", "drop"), ("first", "admit")])
def test_every_closing_rule_evolves(
    tmp_path: Path, elite_evaluation: EliteEvaluation, truncation: Truncation, closing: Closing, late: Late
) -> None:
    config = faulty_config(step_s=0.0005)
    config = replace(
        config,
        generation=replace(
            config.generation, elite_evaluation=elite_evaluation, closing=closing, late=late, spare_episodes=4
        ),
        ga=replace(config.ga, truncation=truncation),
        budget=replace(config.budget, generations=3),
    )
    played: list[float] = []
    lines = run(config, tmp_path / "run", on_progress=lambda progress: played.append(progress.generations))
    assert played == sorted(played)  # candidates that are still to be nominated count as to be played
    assert [line["children"]["n"] for line in lines] == [24] * 3
    n_uncounted = n_admitted = 0
    for number, line in enumerate(lines):
        episodes = read_episodes(tmp_path / "run", number).to_pandas()
        counted = episodes.query("counted and kind == 'child'")
        assert len(counted) == len(counted[["generation", "slot"]].drop_duplicates()) == 24
        n_uncounted += len(episodes) - int(episodes.counted.sum())
        n_admitted += int((counted.generation == number - 1).sum())
        if closing == "all":
            assert sorted(counted.slot) == list(range(24))
        assert counted.generation.isin([number, number - 1]).all()

        candidates, elite = line["candidates"], line["elite"]
        if elite_evaluation == "overlapped" and number == 0:
            assert (candidates, elite) == ([], None)
        else:
            assert [candidate["episodes"] for candidate in candidates] == [4] * 3
            best = max(candidates, key=lambda candidate: candidate["mean"])
            assert (elite["genome"], elite["mean"]) == (best["genome"], best["mean"])
        if number + 1 < len(lines):
            children = [
                scored(child_genome(parents, row.parent, row.gene), row["return"], row.slot)
                for _, row in counted.iterrows()
                for parents in [[from_text(text) for text in lines[row.generation]["parents"]]]
            ]
            best_first = [to_text(child.genome) for child in rank(children)]
            survivors = survive(truncation, best_first, elite and elite["genome"], first=number == 0)
            assert lines[number + 1]["parents"] == survivors
    assert (n_uncounted > 0) == (closing == "first")
    assert (n_admitted > 0) == (closing == "first" and late == "admit")


def survive(truncation: Truncation, best_first: list[str], elite: str | None, *, first: bool) -> list[str]:
    """Return five parents as the table in `algorithms/truncation.py` has it."""
    if truncation == "such2017":
        best = best_first[:5]
        return best if elite is None or elite in best else [elite, *best[:4]]
    if elite is None:
        return best_first[:5][::-1]
    others = [genome for genome in best_first if genome != elite]
    return [*others[: 4 if first else 3][::-1], elite]


def test_results_that_are_not_finite_are_never_selected(tmp_path: Path) -> None:
    lines = run(faulty_config("nan", every=2), tmp_path / "run")
    for number, line in enumerate(lines):
        episodes = read_episodes(tmp_path / "run", number).to_pandas()
        failed = episodes[(episodes.kind == "child") & (episodes.status == "nonfinite")]
        assert len(failed)
        assert line["failed"]["nonfinite"] == (episodes.status == "nonfinite").sum()
        genes = {str(gene) for gene in failed.gene}
        following = lines[number + 1]["parents"] if number + 1 < len(lines) else []
        assert not any(parent.split("-")[-1] in genes for parent in following)
        assert math.isfinite(line["elite"]["mean"])


def test_a_finished_run_goes_on_with_a_larger_budget(expected: Expected, tmp_path: Path) -> None:
    config = faulty_config()
    short = replace(config, budget=replace(config.budget, generations=2))
    run(short, tmp_path / "run")
    assert budget_reached(short.budget, read_run(tmp_path / "run")[1])
    assert run(config, tmp_path / "run", resume=True) == expected[0]
    assert checkpoint(tmp_path / "run")["algorithm"] == expected[1]["algorithm"]
    assert len(json.loads((tmp_path / "run" / "provenance.json").read_text())) == 2


def test_the_elite_is_tested_on_fresh_episodes(tmp_path: Path) -> None:
    config = faulty_config()

    async def main() -> tuple[float, ...]:
        async with local_cluster(1) as cluster:
            client = cluster.client
            async for _ in evolve(config, client, tmp_path / "run", n_processes=2):
                pass
            first = await evaluate_elite(config, client, tmp_path / "run", 20, n_processes=2)
            again = await evaluate_elite(config, client, tmp_path / "run", 20, n_processes=2)
            assert first.returns == again.returns
            returns: tuple[float, ...] = first.returns
            return returns

    returns = asyncio.run(main())
    assert len(set(returns)) == 20
    written = json.loads((tmp_path / "run" / "elite_test.json").read_text())
    assert written["returns"] == list(returns)
    evaluated = read_episodes(tmp_path / "run", 3).to_pandas().query("kind == 'evaluation'")
    assert not set(evaluated["return"]) & set(returns)


def test_the_blocking_form_gives_the_same(expected: Expected, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit=0) as cluster,
        Client(cluster) as client,
    ):
        numbers = [g.number for g in evolve_blocking(faulty_config(), client, tmp_path / "run", n_processes=2)]
    assert numbers == [0, 1, 2, 3]
    assert log(tmp_path / "run") == expected[0]


def test_process_time_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[float, float]] = []  # when it began, when it ended; the clock is read somewhere in between
    take = dispatch.Dispatcher.take_process_seconds

    def noted(self: dispatch.Dispatcher) -> float:
        before = time.monotonic()
        seconds = take(self)
        taken.append((before, time.monotonic()))
        return seconds

    monkeypatch.setattr(dispatch.Dispatcher, "take_process_seconds", noted)
    run(faulty_config(step_s=0.002), tmp_path / "run")
    elapsed_s = 0.0
    for number, line in enumerate(read_generations(tmp_path / "run")):
        timing = line["timing"]
        assert timing["processes"] == 2
        before, after = taken[number : number + 2]
        assert 2 * (after[0] - before[1]) <= timing["process_s"] + 1e-6
        assert timing["process_s"] <= 2 * (after[1] - before[0]) + 1e-6
        elapsed_s += timing["wall_s"]
        assert timing["elapsed_s"] == pytest.approx(elapsed_s)
        assert timing["busy_s"] + timing["discarded_s"] <= timing["process_s"]
        episodes = read_episodes(tmp_path / "run", number).to_pandas()
        assert timing["busy_s"] == pytest.approx(np.sum(episodes.seconds[episodes.counted]), rel=1e-4)
        assert timing["idle_s"] + timing["busy_s"] + timing["discarded_s"] == pytest.approx(timing["process_s"])


def test_a_child_is_judged_by_the_mean_of_its_episodes(tmp_path: Path) -> None:
    config = faulty_config(population=8)
    generation = replace(config.generation, episodes_per_child=3)
    config = replace(config, generation=generation, budget=replace(config.budget, generations=2))
    first, second = run(config, tmp_path / "run")
    episodes = read_episodes(tmp_path / "run", 0).to_pandas()
    children = episodes[episodes.kind == "child"]
    assert children.groupby("slot")["episode"].apply(list).tolist() == [[0, 1, 2]] * 8
    assert first["children"]["n"] == 8
    fitness = children.groupby("slot")["return"].mean()
    assert first["children"]["quantiles"]["1"] == pytest.approx(fitness.max())
    genes = children.groupby("slot")["gene"].first()
    best = [str(genes[slot]) for slot in fitness.sort_values(ascending=False, kind="stable").index[: config.ga.parents]]
    assert set(second["parents"]) - {first["elite"]["genome"]} <= set(best)


@pytest.mark.parametrize("common", [False, True])
def test_common_random_numbers_give_all_children_the_same_episode(common: bool, tmp_path: Path) -> None:
    config = faulty_config(population=8)
    generation = replace(config.generation, common_random_numbers=common)
    config = replace(config, generation=generation, budget=replace(config.budget, generations=1))
    run(config, tmp_path / "run")
    episodes = read_episodes(tmp_path / "run", 0).to_pandas()
    lengths = episodes[episodes.kind == "child"]["steps"]  # which follow from the seed alone
    assert (lengths.nunique() == 1) is common
    evaluations = episodes[episodes.kind == "evaluation"]
    assert (evaluations.groupby("episode")["steps"].nunique() == 1).all() == common
    assert evaluations.groupby("slot")["steps"].nunique().max() > 1
