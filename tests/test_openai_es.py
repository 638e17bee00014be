"""OpenAI-ES is what a few lines of numpy say it is, to the last bit, on nodes and after them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood, Closed, Evaluated, Scored
from gadask.algorithms.elites import centred_ranks
from gadask.algorithms.openai_es import OpenAIES, pair_weights
from gadask.config import AlgorithmConfig, Config, config_from_dict
from gadask.errors import ConfigError, EvolutionError, RecordError
from gadask.genomes.anchors import FOLDER, anchor_digest, read_vectors
from gadask.genomes.genome import from_text, is_update
from gadask.genomes.noise import LazyNoise
from gadask.genomes.seeding import draw_genes
from gadask.genomes.updates import read_update
from gadask.master.generation import Generation, Progress
from gadask.master.task import prepare_task
from gadask.messages import Kind
from gadask.play.loading import load_genome, new_policy
from gadask.record.directory import read_episodes, read_generations, read_run
from tests.local_runs import run

SETTINGS = {
    "seed": 4,
    "algorithm": {"kind": "openai-es"},
    "env": {"id": "CartPole-v1", "max_steps": 60},
    "policy": {"kind": "mlp", "kwargs": {"hidden": "8"}},
    "noise": {"size": 100_000},
    "generation": {"population": 20, "candidates": 1, "candidate_episodes": 2},
    "es": {"sigma": 0.1, "learning_rate": 0.05, "anchor_every": 6},
    "budget": {"generations": 20, "test_episodes": 0},
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("optimiser", ["adam", "momentum"])
def test_twenty_generations_are_those_of_plain_numpy(optimiser: str, tmp_path: Path) -> None:
    config = config_from_dict({**SETTINGS, "es": {**SETTINGS["es"], "optimiser": optimiser}})  # type: ignore[dict-item]
    lines = run(config, tmp_path / "run", processes=2)
    task, policy = prepare_task(config), new_policy(config)
    (origin,) = from_text(lines[0]["parents"][0])
    assert isinstance(origin, int)
    noise = LazyNoise(config.noise)
    load_genome(policy, (origin,), config, tmp_path / "run")
    centre = policy.flat.numpy().copy()
    step = plain_adam() if optimiser == "adam" else plain_momentum()
    for generation, line in enumerate(lines):
        load_genome(policy, from_text(line["parents"][0]), config, tmp_path / "run")
        assert policy.flat.numpy().tolist() == centre.tolist()
        returns = np.zeros((10, 2))
        for row in read_episodes(tmp_path / "run", generation).to_pylist():
            if row["kind"] == "child":
                returns[row["slot"] // 2, row["slot"] % 2] = row["return"]
                assert row["weight"] == (-0.1 if row["slot"] % 2 else 0.1)
        ranks = ((pd.Series(returns.ravel()).rank().to_numpy() - 1) / 19 - 0.5).reshape(10, 2)
        genes = draw_genes(4, generation, np.arange(10), task.n_genes)
        gradient = np.zeros(len(centre))
        for gene, (plus, minus) in zip(genes.tolist(), ranks, strict=True):
            gradient += np.float64(np.float32((plus - minus) / 20)) * noise.slice(gene, len(centre)).astype(np.float64)
        centre = step(centre, -gradient.astype(np.float32), generation + 1)
    _, state = read_run(tmp_path / "run")
    algorithm = make_algorithm(config)
    (last,) = algorithm.bases(algorithm.from_json(state.algorithm))
    load_genome(policy, last, config, tmp_path / "run")
    assert policy.flat.numpy().tolist() == centre.tolist()
    assert sum(line["parents"][0].startswith("@") for line in lines) == 14  # after six updates, and again


def plain_adam() -> Callable[[NDArray[np.float32], NDArray[np.float32], int], NDArray[np.float32]]:
    one, two = np.float32(1 - 0.9), np.float32(1 - 0.999)
    mean: Any = np.float32(0)
    square: Any = np.float32(0)

    def step(centre: NDArray[np.float32], gradient: NDArray[np.float32], t: int) -> NDArray[np.float32]:
        nonlocal mean, square
        gradient = gradient + np.float32(0.005) * centre
        mean = np.float32(0.9) * mean + one * gradient
        square = np.float32(0.999) * square + two * gradient**2
        rate = np.float32(0.05 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t))
        moved: NDArray[np.float32] = centre - rate * mean / (np.sqrt(square) + np.float32(1e-8))
        return moved

    return step


def plain_momentum() -> Callable[[NDArray[np.float32], NDArray[np.float32], int], NDArray[np.float32]]:
    mean: Any = np.float32(0)

    def step(centre: NDArray[np.float32], gradient: NDArray[np.float32], t: int) -> NDArray[np.float32]:
        nonlocal mean
        mean = np.float32(0.9) * mean + np.float32(1 - 0.9) * (gradient + np.float32(0.005) * centre)
        moved: NDArray[np.float32] = centre - np.float32(0.05) * mean
        return moved

    return step


def es(**es: object) -> OpenAIES:
    algorithm = make_algorithm(config_from_dict({**SETTINGS, "es": es}))
    assert isinstance(algorithm, OpenAIES)
    return algorithm


def test_a_pair_is_one_gene_with_both_signs_on_one_task() -> None:
    children = es(sigma=0.5).children(Brood(3, ((7,),)), np.arange(8), 1000)
    assert children.rows.tolist() == [0] * 8
    assert children.genes[::2].tolist() == children.genes[1::2].tolist()
    assert len(set(children.genes.tolist())) == 4
    assert children.weights.tolist() == [0.5, -0.5] * 4
    task = prepare_task(config_from_dict(SETTINGS))
    seeds = [task.env_seed(Kind.CHILD, 3, slot, 0) for slot in range(8)]
    assert seeds[::2] == seeds[1::2]
    assert len(set(seeds)) == 4
    assert len({task.env_seed(Kind.EVALUATION, 3, slot, 0) for slot in range(8)}) == 8


def test_nodes_make_room_for_one_candidate() -> None:
    """Each genome of ES takes three vectors, and in the end all rows are used."""
    config = config_from_dict({**SETTINGS, "generation": {"population": 20, "candidates": 10}})
    assert prepare_task(config).n_genomes == 3
    assert prepare_task(replace(config, algorithm=AlgorithmConfig("random-search"))).n_genomes == 12


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12))
def test_equal_returns_share_their_rank(values: list[int]) -> None:
    ranks = centred_ranks(np.array(values, np.float64))
    expected = (pd.Series(values).rank().to_numpy() - 1) / (len(values) - 1) - 0.5
    np.testing.assert_array_equal(ranks, expected)
    assert abs(ranks.sum()) < 1e-12


def scored(returns: dict[int, float], base: int = 7) -> list[Scored]:
    return [Scored((base,), (slot // 2, 0.1), value, slot) for slot, value in returns.items()]


def test_a_pair_that_is_not_whole_is_left_out() -> None:
    whole = scored({0: 1.0, 1: 3.0, 6: 5.0, 7: 2.0})
    halves = scored({3: 9.0, 4: 8.0}) + scored({2: 9.0, 5: 9.0, 10: 1.0, 11: 2.0}, base=8)
    weights = pair_weights(Closed(0, [*halves, *whole], ()), (7,))
    ranks = {1.0: -0.5, 2.0: -0.5 + 1 / 3, 3.0: 0.5 - 1 / 3, 5.0: 0.5}
    expected = [(ranks[1.0] - ranks[3.0]) / 4, 0, 0, (ranks[5.0] - ranks[2.0]) / 4]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    with pytest.raises(EvolutionError, match="generation 2: expected at least one pair"):
        pair_weights(Closed(2, halves, ()), (7,))


def test_the_centre_is_the_elite_and_grows_by_an_update() -> None:
    algorithm = es(anchor_every=2)
    before = algorithm.start((), 1000)
    assert algorithm.nominate(before, ()) == algorithm.bases(before) == (before.genome,)
    children = [Scored(before.genome, (slot // 2, 0.1), float(slot), slot) for slot in range(4)]
    after = algorithm.tell(before, Closed(0, children, [Evaluated(before.genome, [3.0, 4.0])]))
    elite = algorithm.elite(after)
    assert elite is not None
    assert (elite.genome, elite.mean, elite.generation) == (before.genome, 3.5, 0)
    assert after.genome[:-1] == before.genome
    assert is_update(after.genome[-1])
    assert algorithm.due(after) is None
    children = [one._replace(base=after.genome) for one in children]
    third = algorithm.tell(after, Closed(1, children, [Evaluated(after.genome, [1.0])]))
    assert algorithm.due(third) == third.genome
    assert algorithm.anchored(third, "0" * 32).genome == ("0" * 32,)
    assert algorithm.elite(third).mean == 1.0  # type: ignore[union-attr]  # the centre of today, not the best ever


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("es", "sigma", 0, "es.sigma: expected a finite number above 0"),
        ("es", "momentum", 1.0, "es.momentum: expected 0 to below 1"),
        ("es", "learning_rate", -1.0, "es.learning_rate: expected a finite number of at least 0"),
        ("es", "anchor_every", 0, "es.anchor_every: expected 1 to"),
        ("es", "optimiser", "sgd", "es.optimiser: expected"),
        ("generation", "population", 21, "generation.population: expected an even number"),
        ("generation", "candidates", 0, "generation.candidates: expected at least 1"),
        ("generation", "population_counts_evaluations", True, "generation."),
        ("generation", "late", "admit", "generation.late: expected 'drop'"),
    ],
)
def test_settings_that_cannot_be(table: str, key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config_from_dict({**SETTINGS, table: {**SETTINGS.get(table, {}), key: value}})  # type: ignore[dict-item]


@pytest.mark.timeout(600)
def test_a_run_begins_at_an_anchor_with_the_optimiser_that_made_it(tmp_path: Path) -> None:
    config = config_from_dict({**SETTINGS, "budget": {"generations": 7, "test_episodes": 0}})
    run(config, tmp_path / "run")
    (anchor,) = (tmp_path / "run" / FOLDER).iterdir()
    policy = new_policy(config)
    vectors = read_vectors(anchor.parent, anchor.stem, policy.flat.numel(), 2)
    assert anchor_digest(vectors) == anchor.stem
    assert (np.abs(vectors).max(axis=1) > 0).all()
    line = list(read_generations(tmp_path / "run"))[6]
    assert line["parents"] == [f"@{anchor.stem}"]
    load_genome(policy, from_text(line["parents"][0]), config, tmp_path / "run")
    assert policy.flat.numpy().tolist() == vectors[0].tolist()


def test_closing_at_the_first_results_leaves_out_half_pairs(tmp_path: Path) -> None:
    # All episodes of Pendulum are equally long: 25 children, and so a half pair, have the steps that are asked.
    shared: dict[str, Any] = SETTINGS["generation"]  # type: ignore[assignment]
    generation = {**shared, "population": 24, "closing": "first", "min_steps": 241}
    env = {"id": "Pendulum-v1", "max_steps": 10}
    budget = {"generations": 6, "test_episodes": 0}
    config: Config = config_from_dict({**SETTINGS, "env": env, "generation": generation, "budget": budget})
    lines = run(config, tmp_path / "run", processes=1)
    for line in lines:
        rows = read_episodes(tmp_path / "run", line["generation"]).to_pylist()
        slots = {row["slot"] for row in rows if row["kind"] == "child" and row["counted"]}
        whole = {slot // 2 for slot in slots if slot ^ 1 in slots}
        assert len(slots) == 25
        (path,) = (tmp_path / "run" / "updates").glob(f"u{line['generation']}.*")
        weights = read_update(path.parent, path.stem).array()
        assert {*np.flatnonzero(weights)} <= whole
        assert weights.any()
        assert len(weights) == max(whole) + 1


@pytest.mark.timeout(600)
def test_a_node_that_dies_when_its_numbers_are_to_be_an_anchor_is_replaced(tmp_path: Path) -> None:
    es = {**SETTINGS["es"], "anchor_every": 1}  # type: ignore[dict-item]
    config = config_from_dict({**SETTINGS, "es": es, "budget": {"generations": 4, "test_episodes": 0}})
    whole = run(config, tmp_path / "whole", processes=1)
    pids: dict[str, int] = {}
    killed: list[str] = []

    async def know_the_nodes(client: Client, generation: Generation) -> None:
        pids.update(await client.run(os.getpid))

    def kill_whom_it_will_ask(progress: Progress) -> None:
        if pids and not killed and progress.n_counted == progress.n_wanted:
            killed.append(min(pids))
            os.kill(pids[min(pids)], signal.SIGKILL)

    disturbed = run(
        config,
        tmp_path / "disturbed",
        nodes=2,
        processes=1,
        on_generation=know_the_nodes,
        on_progress=kill_whom_it_will_ask,
    )
    assert killed
    assert disturbed == whole


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_a_run_without_its_updates_or_anchors_does_not_go_on(tmp_path: Path, damage: str) -> None:
    config = config_from_dict({**SETTINGS, "budget": {"generations": 9, "test_episodes": 0}})
    run(config, tmp_path / "run")
    longer = replace(config, budget=replace(config.budget, generations=10))
    (anchor,) = (tmp_path / "run" / FOLDER).iterdir()
    first, second, last = sorted((tmp_path / "run" / "updates").glob("u[678].*"))
    last.unlink()  # which the checkpoint has
    for path in (anchor, second):
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-9] if damage == "cut" else first.read_bytes())
        with pytest.raises(RecordError, match=f"{path.name}: .*restore it from a copy"):
            run(longer, tmp_path / "run", resume=True)
        path.write_bytes(content)
    assert len(run(longer, tmp_path / "run", resume=True)) == 10
