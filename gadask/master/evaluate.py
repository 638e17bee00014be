"""Evaluation outside evolution: genomes of a run on episodes that no selection has seen, or on all that there are.

All of these are of `Kind.TEST`: their seeds follow from the run's seed, the last generation and the episode, and are no
child's and no candidate's. Two genomes meet the same tasks if both play in the same slot. Where a genome has few
different episodes (`Task.n_starts`), a test is of each of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood, Elite
from gadask.config import Config
from gadask.errors import EvolutionError, RecordError, RunDirectoryError
from gadask.genomes.genome import Genome, from_text, step, to_text
from gadask.master.dispatch import Dispatcher
from gadask.master.fitness import Fitness
from gadask.master.ledger import Heading, Ledger, Quota
from gadask.master.task import prepare_task
from gadask.messages import Kind, Status
from gadask.record.directory import check_same_run, read_episodes, read_generations, read_normaliser, read_run
from gadask.record.elite_test import EliteTest, read_elite_test, write_elite_test
from gadask.rows import Rows
from gadask.units import many


@dataclass(frozen=True)
class PlayedTest:
    """What came of test episodes."""

    rows: NDArray[np.void]
    """One row per episode, dtype `ROW`, by slot and episode; those whose status is not `OK` failed."""
    values: NDArray[np.float64]
    """What each is worth: its return, or as `generation.fitness` says; NaN of those that failed."""
    reason: str
    """Why the first episode failed that did; empty if none did."""
    process_s: float
    """Process time of everything that was played."""

    def as_test(self, elite: Elite, *, n_starts: int = 0, sticky: float = 0.0) -> EliteTest:
        """Return it as a test of `elite`, which played them all; further arguments as in `EliteTest`."""
        values = tuple(self.values[np.isfinite(self.values)].tolist())
        n_failed = len(self.rows) - len(values)
        return EliteTest(
            elite.generation,
            to_text(elite.genome),
            values,
            n_failed,
            self.reason,
            n_starts=n_starts,
            sticky=sticky,
            process_s=self.process_s,
        )


async def play_genomes(
    config: Config,
    client: Client,
    run_dir: Path | str,
    brood: Brood,
    n_episodes: int,
    *,
    noise_digest: str,
    n_processes: int | None = None,
    node_timeout_s: float = math.inf,
) -> PlayedTest:
    """Play the candidates of `brood`, genomes of the run in `run_dir`, `n_episodes` test episodes each.

    Candidates that are children of its bases are made from those.

    Raises:
        EvolutionError: a larger share of the episodes failed than `generation.max_failed_share`, or all of them did.
        ClusterError, NodeError: no node can be used, or the scheduler is lost.
    """
    task = prepare_task(config, run_dir)
    evolved_in = read_run(run_dir)[0].env
    if evolved_in != config.env:
        task = replace(task, reference_env=evolved_in)
    dispatcher = Dispatcher(client, task, n_processes, noise_digest, node_timeout_s)
    ledger = Ledger(Quota(brood.generation, 0, n_episodes, kind=Kind.TEST), len(brood.candidates))
    counted: list[Rows] = []
    fitness = Fitness(config)
    max_failed_share = config.generation.max_failed_share
    process_s, n_failed, reason = 0.0, 0, ""
    try:
        await dispatcher.start()
        async for arrivals in dispatcher.play(ledger, brood):
            for arrival in arrivals:
                table = arrival.rows.table
                process_s += float(table["seconds"].sum())
                counts = ledger.add(table) == Heading.COUNTED
                counted.append(arrival.rows.where(counts))
                failed = np.flatnonzero(counts & (table["status"] != Status.OK)).tolist()
                if failed:
                    n_failed += len(failed)
                    reason = reason or arrival.rows.reasons().get(failed[0], "its return is not finite")
                if n_failed > max_failed_share * ledger.n_wanted or n_failed == ledger.n_wanted:
                    raise EvolutionError(
                        f"{many(n_failed, 'test episode')} failed, more than generation.max_failed_share ="
                        f" {max_failed_share:g} of {ledger.n_wanted} allows; the first reason: {reason}"
                    )
    finally:
        await dispatcher.close()
    rows = Rows.joined(counted)
    is_valid = rows.table["status"] == Status.OK
    values = np.full(len(rows), math.nan)
    values[is_valid] = fitness.of(rows.where(is_valid))
    order = np.argsort(rows.table, order=["slot", "episode"])
    return PlayedTest(rows.table[order], values[order], reason, process_s)


async def evaluate_elite(
    config: Config,
    client: Client,
    run_dir: Path | str,
    n_episodes: int,
    *,
    n_processes: int | None = None,
    node_timeout_s: float = math.inf,
) -> EliteTest:
    """Test the last elite of a run: on `n_episodes` fresh episodes, or on each start that there is; writes the test.

    Episodes that fail are left out. Raises `RunDirectoryError` where the run has no elite yet, `EvolutionError` where
    too many episodes fail; the file says so then, and `needs_test` that the test is done: it would fail again.
    """
    stored, state = read_run(run_dir)
    check_same_run(stored, config)
    elite = state.elite
    if elite is None:
        raise RunDirectoryError(f"{run_dir}: expected an elite to test, found none; evolve at least one generation")
    n_starts = prepare_task(config).n_starts
    n_episodes = n_starts or n_episodes
    try:
        played = await play_genomes(
            config,
            client,
            run_dir,
            Brood(state.generation, (), (elite.genome,), read_normaliser(run_dir, elite.genome)),
            n_episodes,
            noise_digest=state.noise_digest,
            n_processes=n_processes,
            node_timeout_s=node_timeout_s,
        )
    except EvolutionError as error:
        genome = to_text(elite.genome)
        none = EliteTest(elite.generation, genome, (), n_episodes, error=str(error), n_starts=n_starts)
        write_elite_test(run_dir, none)
        raise
    test = played.as_test(elite, n_starts=n_starts)
    write_elite_test(run_dir, test)
    return test


def test_of(run_dir: Path | str, elite: Elite | None) -> EliteTest | None:
    """Return the test that `evaluate_elite` wrote for this elite; None if there is none, or it cannot be read."""
    try:
        test = read_elite_test(run_dir)
    except RecordError:
        return None
    return test if test is not None and elite is not None and test.genome == to_text(elite.genome) else None


def needs_test(config: Config, run_dir: Path | str, elite: Elite | None) -> bool:
    """Whether the elite is still to be tested: on as many episodes as the budget asks for, or on more than before.

    A test on more episodes than asked for holds those that are asked for, one of every start all that there are. One of
    which too many episodes failed is made again only with another number of episodes, one of every start not by itself.
    """
    n_episodes = config.budget.test_episodes
    if not n_episodes or elite is None:
        return False
    test = test_of(run_dir, elite)
    if test is None or test.n_starts:
        return test is None
    return test.n_episodes != n_episodes if test.error else test.n_episodes < n_episodes


def choose_genome(run_dir: Path | str, name: str) -> Genome:
    """Return the run's elite that is `"last"`, the one with the `"best"` mean ever, or the genome of a text.

    Raises:
        RunDirectoryError: there is no elite yet.
        GenomeError: `name` is none of these.
    """
    if name not in ("best", "last"):
        return from_text(name)
    elites = [line["elite"] for line in read_generations(run_dir) if line["elite"] is not None]
    if not elites:
        raise RunDirectoryError(f"{run_dir}: expected an elite, found none; evolve at least one generation")
    elite = max(elites, key=lambda elite: float(elite["mean"])) if name == "best" else elites[-1]
    return from_text(elite["genome"])


def children_again(run_dir: Path | str, config: Config) -> Brood:
    """Return what the counted children of the last generation are made from, with them as candidates in slot order.

    Raises:
        RunDirectoryError: no generation is closed.
        RecordError: the last generation's episodes are damaged or missing.
    """
    last = None
    for last in read_generations(run_dir):  # noqa: B007
        pass
    if last is None:
        raise RunDirectoryError(f"{run_dir}: expected children to play again, found none; evolve a generation")
    generation = last["generation"]
    bases = tuple(from_text(genome) for genome in last["parents"])
    rows = read_episodes(run_dir, generation).to_pylist()
    step_weight = make_algorithm(config).step_weight
    drawn = {
        row["slot"]: (*bases[row["parent"]], step(row["gene"], row.get("weight", step_weight), step_weight))
        if row["parent"] >= 0
        else (row["gene"],)
        for row in rows
        if row["kind"] == "child" and row["counted"] and row["status"] == "ok" and row["generation"] == generation
    }
    children = tuple(drawn[slot] for slot in sorted(drawn))
    return Brood(generation, bases, children, read_normaliser(run_dir))
