"""Evaluation outside evolution: genomes of a run on episodes that no selection has seen.

All of these are of `Kind.TEST`: their seeds follow from the run's seed, the last generation and the episode, and are no
child's and no candidate's. Two genomes meet the same tasks if both play in the same slot.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from gadask import files
from gadask.config import Config
from gadask.dispatch import Dispatcher
from gadask.errors import EvolutionError, RunDirectoryError
from gadask.genome import from_text, to_text
from gadask.ledger import Heading, Ledger, Quota
from gadask.messages import ROW, Breeding, Genome, Kind, Status
from gadask.record import check_same_run, read_episodes, read_generations, read_normaliser, read_run
from gadask.selection import Elite
from gadask.task import prepare_task

_ELITE_TEST = "elite_test.json"


@dataclass(frozen=True)
class EliteTest:
    """The elite's returns on fresh episodes, in episode order."""

    elite: Elite
    returns: tuple[float, ...]
    process_s: float = 0.0
    """Process time that they took; 0 where the test was read from its file."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN for one episode."""
        return float(np.std(self.returns, ddof=1) / len(self.returns) ** 0.5) if len(self.returns) > 1 else math.nan


async def play_genomes(
    config: Config,
    client: Client,
    breeding: Breeding,
    n_episodes: int,
    *,
    noise_digest: str,
    n_processes: int | None = None,
    node_timeout_s: float = math.inf,
) -> tuple[NDArray[np.void], float]:
    """Play the candidates of `breeding`, `n_episodes` test episodes each.

    Candidates that are children of its parents are made from those. Returns one row an episode, dtype `ROW`, by slot
    and episode, and the process time of everything that was played.

    Raises:
        EvolutionError: an episode failed.
        ClusterError, NodeError: no node can be used, or the scheduler is lost.
    """
    dispatcher = Dispatcher(client, prepare_task(config), n_processes, noise_digest, node_timeout_s)
    ledger = Ledger(Quota(breeding.generation, 0, n_episodes, kind=Kind.TEST), len(breeding.candidates))
    counted = [np.zeros(0, ROW)]
    process_s = 0.0
    try:
        await dispatcher.start()
        async for arrivals in dispatcher.play(ledger, breeding):
            for arrival in arrivals:
                process_s += float(arrival.rows["seconds"].sum())
                rows = arrival.rows[ledger.add(arrival.rows) == Heading.COUNTED]
                if (rows["status"] != Status.OK).any():
                    reason = next(iter(arrival.reasons.values()), "its return is not finite")
                    raise EvolutionError(f"a test episode failed: {reason}")
                counted.append(rows)
    finally:
        await dispatcher.close()
    return np.sort(np.concatenate(counted), order=["slot", "episode"]), process_s


async def evaluate_elite(
    config: Config,
    client: Client,
    run_dir: Path | str,
    n_episodes: int,
    *,
    n_processes: int | None = None,
    node_timeout_s: float = math.inf,
) -> EliteTest:
    """Play the last elite of a run on `n_episodes` episodes that no selection has seen; writes `elite_test.json`.

    Raises `RunDirectoryError` where the run has no elite yet, `EvolutionError` where an episode fails.
    """
    stored, state = read_run(run_dir)
    check_same_run(stored, config)
    elite = state.population.elite
    if elite is None:
        raise RunDirectoryError(f"{run_dir}: expected an elite to test, found none; evolve at least one generation")
    rows, process_s = await play_genomes(
        config,
        client,
        Breeding(state.generation, (), (elite.genome,), read_normaliser(run_dir, elite.genome)),
        n_episodes,
        noise_digest=state.noise_digest,
        n_processes=n_processes,
        node_timeout_s=node_timeout_s,
    )
    test = EliteTest(elite, tuple(rows["return"].tolist()), process_s)
    document = {"generation": elite.generation, "genome": to_text(elite.genome), "returns": test.returns}
    files.atomic_write(Path(run_dir) / _ELITE_TEST, json.dumps(document).encode() + b"\n")
    return test


def read_elite_test(run_dir: Path | str, elite: Elite | None) -> EliteTest | None:
    """Return the test that `evaluate_elite` wrote for this elite; None if there is none, or it cannot be read."""
    try:
        document = json.loads((Path(run_dir) / _ELITE_TEST).read_text())
        if elite is None or document["genome"] != to_text(elite.genome):
            return None
        return EliteTest(elite, tuple(map(float, document["returns"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def choose_genome(run_dir: Path | str, name: str) -> Genome:
    """Return the run's elite that is `"last"`, the one with the `"best"` mean ever, or the genome of a text.

    Raises:
        RunDirectoryError: there is no elite yet.
        GenomeError: `name` is none of these.
    """
    elites = [line["elite"] for line in read_generations(run_dir) if line["elite"] is not None]
    if not elites:
        raise RunDirectoryError(f"{run_dir}: expected an elite, found none; evolve at least one generation")
    if name == "best":
        return from_text(max(elites, key=lambda elite: float(elite["mean"]))["genome"])
    return from_text(elites[-1]["genome"] if name == "last" else name)


def children_again(run_dir: Path | str) -> Breeding:
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
    parents = tuple(from_text(genome) for genome in last["parents"])
    rows = read_episodes(run_dir, generation).to_pylist()
    drawn = {
        row["slot"]: (*parents[row["parent"]], row["gene"]) if row["parent"] >= 0 else (row["gene"],)
        for row in rows
        if row["kind"] == "child" and row["counted"] and row["status"] == "ok" and row["generation"] == generation
    }
    children = tuple(drawn[slot] for slot in sorted(drawn))
    return Breeding(generation, parents, children, read_normaliser(run_dir))
