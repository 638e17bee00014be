"""Masters: `jobs/run.py` on the cluster's scheduler, started again with `--resume` whenever an injector ended it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gadask.config import dump_config
from gadask.errors import GadaskError
from gadask.record.directory import holds_run, read_run
from tests.chaos.cluster import ROOT, Started
from tests.chaos.promises import BrokenError
from tests.chaos.proxy import Proxy
from tests.chaos.runs import Kind

N_PROCESSES = 2
"""Rollout processes of a node."""

_EXPECTED_ERRORS = {
    "disk": r"No space left on device",
    "connection": r"the Dask scheduler is lost|expected a Dask scheduler, found|no node for \d+ s",
}
"""How a master may end by itself, by what was done to it meanwhile."""


@dataclass
class Master:
    """One run, over all its starts."""

    kind: Kind
    number: int
    directory: Path
    environ: Mapping[str, str]
    folder: Path
    proxy: Proxy
    port: int
    """Where its proxy listens."""
    suffered: Callable[[str, float], bool]
    """Whether an injector did something of this sort since a moment."""
    ended_by: set[int] = field(default_factory=set)
    """Exit statuses that injectors have asked for since the last start."""
    n_starts: int = 0
    started_at: float = 0.0
    command: Started | None = None
    generation: int = -1
    progress_at: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Name of the run."""
        return f"{self.kind.name}-{self.number}"

    @property
    def role(self) -> str:
        """Role of its processes."""
        return f"master-{self.name}"

    @property
    def is_alive(self) -> bool:
        """Whether a process plays it at the moment."""
        return self.command is not None and self.command.returncode is None

    @property
    def has_begun(self) -> bool:
        """Whether its process has said what it evolves."""
        return self.command is not None and "evolving" in self.command.out.read_text(errors="replace")

    def start(self) -> None:
        """Start it, or go on with it."""
        config = self.folder / f"{self.kind.name}.toml"
        config.write_text(dump_config(self.kind.config))
        words: list[object] = [ROOT / "jobs" / "run.py", config, "--run-dir", self.directory, "--no-pictures"]
        words += ["--cluster", f"tls://127.0.0.1:{self.port}", "--rollouts-per-node", N_PROCESSES]
        if holds_run(self.directory):
            words.append("--resume")
        self.ended_by.clear()
        self.started_at = time.monotonic()
        if not self.n_starts:
            self.progress_at = self.started_at
        self.command = Started(self.role, words, self.environ, self.folder, f"{self.name}-{self.n_starts}")
        self.n_starts += 1

    def step(self) -> bool:
        """Look at it; start it again where it was ended. Returns whether it has finished.

        Raises `BrokenError` if it ended in a way that nothing explains, or its directory cannot be read.
        """
        if self.command is None:
            self.start()
            return False
        self._note_progress()
        status = self.command.returncode
        if status is None:
            return False
        self._judge(status)
        if status == 0:
            return True
        self.start()
        return False

    def _note_progress(self) -> None:
        try:
            generation = read_run(self.directory)[1].generation if holds_run(self.directory) else -1
        except GadaskError as error:
            raise BrokenError(f"{self.name}: its directory cannot be read: {error}") from None
        if generation < self.generation:
            raise BrokenError(
                f"{self.name}: generation {self.generation} was closed and is lost; the last is {generation}"
            )
        if generation > self.generation:
            self.generation, self.progress_at = generation, time.monotonic()

    def _judge(self, status: int) -> None:
        assert self.command is not None
        said = self.command.err.read_text(errors="replace")
        if "Traceback" in said or "Exception ignored" in said:
            raise BrokenError(f"{self.name}: exit status {status} with a traceback:\n{said}")
        if status == 0 or status in self.ended_by:
            return
        last = (said.strip().splitlines() or [""])[-1]
        for sort, expected in _EXPECTED_ERRORS.items():
            if status in (1, 2) and self.suffered(sort, self.started_at) and re.search(expected, last):
                return
        name = signal.Signals(-status).name if status < 0 else str(status)
        raise BrokenError(
            f"{self.name}: ended with {name}, which nothing asked for: {said.strip() or 'nothing was said'}"
        )
