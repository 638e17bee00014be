"""What a closed generation looked like: one line of the log.

Everything that depends on clocks, nodes or the order of arrival stands under `timing`; the rest of the line is the same
for equal runs. Returns are of counted children, lengths are in agent steps. `episodes`, `steps` and `frames` are those
*meant*: what a genome gave at a start stands for every episode that means this start (`starts.py`). How many were
*played* stands under `timing`, since a run that was resumed has forgotten what its candidates gave before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Behaviour, Brood, Elite, Evaluated, Scored
from gadask.algorithms.elites import exact_mean
from gadask.genomes.genome import Genome, to_text
from gadask.master.ledger import PLAYED, Heading, Ledger
from gadask.messages import Kind, Status

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Timing:
    """Where the process time of one generation went, in seconds.

    `process_s` is rollout processes × wall time; `busy_s` was spent on counted rows, `discarded_s` on rows that came
    late, twice, beyond the quota or were stopped; the rest was idle, or played other runs on the same nodes.
    """

    wall_s: float
    process_s: float
    busy_s: float
    discarded_s: float
    nodes: int
    processes: int
    core_hours: float = 0.0
    """Charged since the generation before closed, as the cluster counts it; the queue and the start are the first's."""
    cpus: Mapping[str, int] = field(default_factory=dict)
    """Episodes that were played, by the nodes' type of processor."""

    @property
    def busy_share(self) -> float:
        """Share of the process time that counted rows took."""
        return self.busy_s / self.process_s if self.process_s else 0.0

    @property
    def idle_s(self) -> float:
        """The rest of the process time: idle, or other runs' on the same nodes."""
        return max(0.0, self.process_s - self.busy_s - self.discarded_s)


def log_line(
    brood: Brood,
    rows: NDArray[np.void],
    headings: NDArray[np.uint8],
    scored: Sequence[Scored],
    evaluated: Sequence[Evaluated],
    elite: Elite | None,
    ledger: Ledger,
    timing: Timing,
) -> dict[str, Any]:
    """Return the log's line for one generation.

    `rows` are all that arrived, `headings` how they were booked, `scored` the children that can be selected,
    `evaluated` the candidates.
    """
    counted = rows[headings == Heading.COUNTED]
    played = rows[np.isin(headings, list(PLAYED))]
    fitness = np.array([child.fitness for child in scored])
    counted_steps = counted[counted["kind"] == Kind.CHILD]["steps"]
    all_steps = played[played["kind"] == Kind.CHILD]["steps"]
    failed = {
        status.name.lower(): int((counted["status"] == status).sum())
        for status in (Status.ERROR, Status.TIMEOUT, Status.NONFINITE)
    }
    normaliser = brood.normaliser
    return {
        **({} if normaliser is None else {"normaliser": normaliser.to_json()}),
        "parents": [to_text(genome) for genome in brood.bases],
        "candidates": [
            {
                "genome": to_text(candidate.genome),
                "mean": exact_mean(candidate.values),
                "standard_error": _standard_error(candidate.values),
                "episodes": len(candidate.values),
                **({} if candidate.behaviour is None else {"behaviour": list(candidate.behaviour)}),
            }
            for candidate in evaluated
        ],
        "elite": None if elite is None else asdict(elite) | {"genome": to_text(elite.genome)},
        "children": {"n": ledger.n_children, "mean": exact_mean(fitness), "quantiles": _quantiles(fitness)},
        "failed": failed,
        "lengths": {
            "counted": {"mean": exact_mean(counted_steps), "quantiles": _quantiles(counted_steps)},
            "all": {"mean": exact_mean(all_steps), "quantiles": _quantiles(all_steps)},
        },
        "episodes": len(played),
        "steps": ledger.steps,
        "frames": ledger.frames,
        "timing": {
            **asdict(timing),
            "idle_s": timing.idle_s,
            "busy_share": timing.busy_share,
            "played": {
                "episodes": ledger.played_episodes,
                "steps": ledger.played_steps,
                "frames": ledger.played_frames,
            },
            "rows": {heading.name.lower(): ledger.rows[heading] for heading in Heading},
        },
    }


def behaviours_of(
    genomes: Sequence[Genome], scored: Sequence[Scored], evaluated: Sequence[Evaluated]
) -> list[Behaviour | None]:
    """Return how genomes behaved in a generation: as a child, else as a candidate; None of one that was neither."""
    ends = {part for genome in genomes for part in genome[-1:]}
    known = {candidate.genome: candidate.behaviour for candidate in evaluated}
    known |= {child.genome: child.behaviour for child in scored if child.step in ends}
    return [known.get(genome) for genome in genomes]


def _standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None of fewer than two values and where it overflows."""
    mean = exact_mean(values)
    if mean is None or len(values) < 2:
        return None
    try:
        error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    except OverflowError:
        return None
    return error if math.isfinite(error) else None


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    # Of quarters, which are exact, because interpolating overflows between returns near both ends of float64.
    quantiles = 4 * np.quantile(values / 4, _QUANTILES)
    return {f"{q:g}": float(x) for q, x in zip(_QUANTILES, quantiles, strict=True)}
