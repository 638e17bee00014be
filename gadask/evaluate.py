"""Evaluation outside evolution: the elite of a run on episodes that no selection has seen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from distributed import Client

from gadask import files
from gadask.config import Config
from gadask.dispatch import Dispatcher
from gadask.errors import EvolutionError, RunDirectoryError
from gadask.genome import to_text
from gadask.ledger import Heading, Ledger, Quota
from gadask.messages import Breeding, Kind, Status
from gadask.record import check_same_run, read_run
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
    dispatcher = Dispatcher(client, prepare_task(config), n_processes, state.noise_digest, node_timeout_s)
    ledger = Ledger(Quota(state.generation, 0, n_episodes, kind=Kind.TEST), n_candidates=1)
    returns: dict[int, float] = {}
    process_s = 0.0
    try:
        await dispatcher.start()
        async for arrival in dispatcher.play(ledger, Breeding(state.generation, (), (elite.genome,))):
            process_s += float(arrival.rows["seconds"].sum())
            for row in arrival.rows[ledger.add(arrival.rows) == Heading.COUNTED]:
                if row["status"] != Status.OK:
                    reason = next(iter(arrival.reasons.values()), "its return is not finite")
                    raise EvolutionError(f"a test episode of the elite failed: {reason}")
                returns[int(row["episode"])] = float(row["return"])
    finally:
        await dispatcher.close()
    test = EliteTest(elite, tuple(returns[episode] for episode in sorted(returns)), process_s)
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
