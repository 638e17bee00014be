"""What the elite reached in its test: `elite_test.json`, and with sticky actions `sticky_test.json`.

Where a genome has few different episodes (`starts`), as in Atari without sticky actions, the test is of each of them,
and its mean is exact. Anywhere else it is of episodes that no selection has seen. Tests of earlier versions drew a
start for each episode; how many there can be among them follows from the run's config.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gadask.config import load_stored_config
from gadask.errors import ConfigError, RecordError
from gadask.record import files
from gadask.tables import html_table
from gadask.units import error_text, many, number_text

_FILE, _STICKY_FILE = "elite_test.json", "sticky_test.json"


@dataclass(frozen=True)
class EliteTest:
    """The elite's returns, or what `generation.fitness` makes of its episodes; failed ones are left out."""

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
    n_starts: int = 0
    """Different episodes that the elite has, if the test is of each of them once; 0: each seed has its own."""
    sticky: float = 0.0
    """Probability that the game repeated an action, where the run's own game does not; see `gadask evaluate`."""
    process_s: float = 0.0
    """Process time that they took; 0 where the test was read from its file."""
    n_possible: int = 0
    """Different episodes that the elite has, if a start was drawn for each episode of the test; 0: as in `n_starts`."""

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
        """Standard error of the mean; NaN for one episode, and where the mean is exact."""
        if self.is_exact or len(self.returns) < 2:
            return math.nan
        return float(np.std(self.returns, ddof=1) / len(self.returns) ** 0.5)

    @property
    def is_exact(self) -> bool:
        """Whether the mean is that of all episodes that the elite can have."""
        return bool(self.n_starts and not self.n_failed)

    @property
    def episodes_text(self) -> str:
        """What the mean is taken over, in words."""
        n = f"{len(self.returns)} of {self.n_episodes}" if self.n_failed else f"{len(self.returns)}"
        episodes = "episode" if n == "1" else "episodes"
        if self.n_starts:
            return f"{n} starts" if self.n_failed else "the only start" if n == "1" else f"all {n} starts"
        if self.n_possible:
            return f"{n} {episodes} of at most {many(self.n_possible, 'different start')}"
        return f"{n} {episodes} with sticky actions ({self.sticky:g})" if self.sticky else f"{n} fresh {episodes}"

    @property
    def mean_text(self) -> str:
        """The mean, with its standard error unless it is exact."""
        error = self.standard_error
        return error_text(self.mean, error) + ("" if math.isnan(error) else " (s.e.)")

    def _repr_html_(self) -> str:
        """Return a table of what it found."""
        rows: dict[str, object] = {"elite of generation": self.generation}
        if self.error:
            return html_table("no test of the elite", rows | {"reason": self.error})
        rows |= {"mean return": self.mean_text, "over": self.episodes_text}
        rows |= {"least and most": f"{number_text(min(self.returns))}, {number_text(max(self.returns))}"}
        return html_table("test of the elite", rows | ({"failed": self.reason} if self.n_failed else {}))

    @property
    def text(self) -> str:
        """The result in one line."""
        begin = f"elite of generation {self.generation}:"
        if self.error:
            return f"{begin} no test of {many(self.n_episodes, 'episode')}: {self.error}"
        failed = f", {self.n_failed} failed: {self.reason}" if self.n_failed else ""
        return f"{begin} {self.mean_text} over {self.episodes_text}{failed}"


def write_elite_test(run_dir: Path | str, test: EliteTest) -> None:
    """Write a test in place of the one before; raises `RecordError` if that cannot be."""
    document = {
        "generation": test.generation,
        "genome": test.genome,
        "episodes": test.n_episodes,
        "returns": test.returns,
        "failed": test.n_failed,
        **({"starts": test.n_starts} if test.n_starts else {}),
        **({"sticky": test.sticky} if test.sticky else {}),
        **({"error": test.error} if test.error else {"reason": test.reason}),
    }
    files.atomic_write(Path(run_dir) / (_STICKY_FILE if test.sticky else _FILE), json.dumps(document).encode() + b"\n")


def read_elite_test(run_dir: Path | str, *, sticky: bool = False) -> EliteTest | None:
    """Return the last test of a run's elite, which may be an earlier elite; None where there was none.

    `sticky`: the one with sticky actions. Without the run's `config.toml`, or with one that cannot be read,
    `n_possible` is 0.

    Raises:
        RecordError: the file is damaged.
    """
    path = Path(run_dir) / (_STICKY_FILE if sticky else _FILE)
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
            int(found.get("starts", 0)),
            float(found.get("sticky", 0)),
        )
        if not test.returns and not test.error:
            raise ValueError
    except (AttributeError, ValueError, KeyError, TypeError):
        raise RecordError(f"{path}: damaged; expected the elite's returns; test the elite again") from None
    return test if test.n_starts or sticky else replace(test, n_possible=_count_possible(Path(run_dir)))


def _count_possible(run_dir: Path) -> int:
    """Return how many different episodes a genome of the run has, as far as its config says; 0 where that is unknown.

    A policy that is a user's own may draw, and environments other than Atari say it only when they are made.
    """
    try:
        config = load_stored_config(run_dir / "config.toml")
    except ConfigError:
        return 0
    may_draw = ":" in config.policy.kind or config.policy.kwargs.get("actions") == "sampled"
    if may_draw or not config.env.id.startswith("ALE/"):
        return 0
    from gadask.envs.atari import count_starts

    return count_starts(config.env)
