"""`elite_test.json`: what the elite reached on episodes that no selection has seen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gadask.errors import RecordError
from gadask.record import files

_FILE = "elite_test.json"


@dataclass(frozen=True)
class EliteTest:
    """The elite's returns on fresh episodes, or what `generation.fitness` makes of them; failed ones are left out."""

    generation: int
    """The generation that crowned the elite."""
    genome: str
    """As text."""
    returns: tuple[float, ...]
    n_failed: int = 0
    """Episodes that failed."""
    reason: str = ""
    """Why the first of these failed."""
    error: str = ""
    """Why there is no test: too many of its episodes failed."""
    process_s: float = 0.0
    """Process time that they took; 0 where the test was read from its file."""

    @property
    def n_episodes(self) -> int:
        """Episodes that the test was to have."""
        return len(self.returns) + self.n_failed

    @property
    def mean(self) -> float:
        """Mean return; NaN without any."""
        return float(np.mean(self.returns)) if self.returns else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN for one episode."""
        return float(np.std(self.returns, ddof=1) / len(self.returns) ** 0.5) if len(self.returns) > 1 else math.nan

    @property
    def text(self) -> str:
        """The result in one line."""
        begin = f"elite of generation {self.generation}:"
        if self.error:
            return f"{begin} no test of {self.n_episodes} episodes: {self.error}"
        n, failed = f"{len(self.returns)}", ""
        if self.n_failed:
            n, failed = f"{n} of {self.n_episodes}", f", {self.n_failed} failed: {self.reason}"
        return f"{begin} {self.mean:,.1f} ± {self.standard_error:,.1f} over {n} fresh episodes{failed}"


def write_elite_test(run_dir: Path | str, test: EliteTest) -> None:
    """Write a test in place of the one before; raises `RecordError` if that cannot be."""
    document = {
        "generation": test.generation,
        "genome": test.genome,
        "episodes": test.n_episodes,
        "returns": test.returns,
        "failed": test.n_failed,
        **({"error": test.error} if test.error else {"reason": test.reason}),
    }
    files.atomic_write(Path(run_dir) / _FILE, json.dumps(document).encode() + b"\n")


def read_elite_test(run_dir: Path | str) -> EliteTest | None:
    """Return the last test of a run's elite, which may be an earlier elite; None where there was none.

    Raises:
        RecordError: the file is damaged.
    """
    path = Path(run_dir) / _FILE
    content = files.read(path)
    if content is None:
        return None
    try:
        found = json.loads(content)
        test = EliteTest(
            int(found["generation"]),
            str(found["genome"]),
            tuple(map(float, found["returns"])),
            int(found.get("failed", 0)),
            str(found.get("reason", "")),
            str(found.get("error", "")),
        )
        if not test.returns and not test.error:
            raise ValueError
    except (AttributeError, ValueError, KeyError, TypeError):
        raise RecordError(f"{path}: damaged; expected the elite's returns; test the elite again") from None
    return test
