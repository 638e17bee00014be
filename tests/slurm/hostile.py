"""Hostile answers of Slurm: scripts in front of the real `sbatch`, `squeue` and `scancel` that obey orders.

An order is a file in a folder, so that it can be given, changed and taken back while a run goes on.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMANDS = ("sbatch", "squeue", "scancel")

_SCRIPT = """#!/bin/bash
orders={folder}/orders
echo {name} >> {folder}/calls
order=$(cat "$orders/{name}.once" "$orders/{name}" 2> /dev/null | head -n 1)
rm -f "$orders/{name}.once"
case "$order" in
  hang) exec sleep inf ;;
  child) sleep inf & wait ;;
  banner) echo "*** Maintenance on 2026|12|01: expect | delays ***"
    {real} "$@"; status=$?; echo 'Bye.'; exit $status ;;
  nothing) exit 0 ;;
  busy) echo "{name}: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1 ;;
  refuse) echo "{name}: error: Batch job submission failed: Invalid account" >&2; exit 1 ;;
  done-busy) {real} "$@" > /dev/null
    echo "{name}: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1 ;;
  done-refuse) {real} "$@" > /dev/null; echo "{name}: error: plugin failed" >&2; exit 1 ;;
  done-hang) {real} "$@" > /dev/null; touch {folder}/done; exec sleep inf ;;
  done-slow) answer=$({real} "$@"); touch {folder}/done
    while [ -e "$orders/{name}" ]; do sleep 0.05; done; echo "$answer" ;;
  lack) {real} "$@" | grep -v '|gadask-.*-0|' ;;
  limit*) exec 9> {folder}/lock
    flock 9
    if (( $({squeue} --noheader | wc -l) >= ${{order#limit }} )); then
      echo "{name}: error: QOSMaxSubmitJobPerUserLimit" >&2
      echo "{name}: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, …)" >&2
      exit 1
    fi
    {real} "$@" ;;
  twice) {real} "$@"; {real} "$@" ;;
  *) exec {real} "$@" ;;
esac
"""


@dataclass(frozen=True)
class Hostile:
    """The scripts; they are found first in the folder `bin`."""

    folder: Path

    @property
    def path(self) -> str:
        """A `PATH` with the scripts in front."""
        return f"{self.folder / 'bin'}:{os.environ['PATH']}"

    @property
    def is_done(self) -> bool:
        """Whether a command did what it was called for and gave no answer yet."""
        return (self.folder / "done").exists()

    def order(self, name: str, what: str, *, once: bool = False) -> None:
        """Have a command answer in a certain way from now on, or the next time."""
        file = self.folder / "orders" / (f"{name}.once" if once else name)
        part = file.with_suffix(".part")
        part.write_text(f"{what}\n")
        part.replace(file)

    def behave(self, name: str) -> None:
        """Have a command answer as it should."""
        (self.folder / "orders" / name).unlink(missing_ok=True)

    def n_calls(self, name: str) -> int:
        """Return how often a command was called."""
        calls = self.folder / "calls"
        return calls.read_text().split().count(name) if calls.exists() else 0


@pytest.fixture
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """Scripts that do as the real commands until they are ordered otherwise."""
    return hostile_commands(tmp_path_factory.mktemp("hostile"))


def hostile_commands(folder: Path) -> Hostile:
    """Write the scripts into a folder; at first they do as the real commands."""
    (folder / "orders").mkdir()
    (folder / "bin").mkdir()
    for name in COMMANDS:
        script = folder / "bin" / name
        real = {"real": shutil.which(name), "squeue": shutil.which("squeue")}
        script.write_text(_SCRIPT.format(folder=folder, name=name, **real))
        script.chmod(0o755)
    return Hostile(folder)
