"""An hour of a run on 8 nodes of a real Slurm that behaves badly: `python -m tests.benchmarks.bench_hour`.

The nodes' episodes wait more than they compute, so that the nodes, of two processes each, fit on two cores. Every few
minutes something happens (`_EVENTS`): `squeue` hangs for ten minutes, the controller is killed and comes back, jobs are
cancelled by their user and workers are killed, `sbatch` is accepted without an answer, late, or twice, `scancel` fails
at the end. Printed are the calls of Slurm's commands, the size of the folder of logs and job scripts, and the share of
a core that the master took; then what the run said, the jobs that are left, and whether its parents are those of a run
on this machine. Needs root, Slurm and munge.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.slurm.hostile import COMMANDS, Hostile, hostile_commands
from tests.slurm.local_slurm import LocalSlurm, local_slurm
from tests.slurm.runs import Command, command, environment, parents, slurm_command, started, write_files

_N_NODES = 8
_MINUTES = 60
_FLAGS = ("--nodes", _N_NODES, "--rollouts-per-node", 2, "--machine.cores", 8, "--machine.poll-s", 60)
_STEP_S = 0.05


class _Hour:
    """What happens, and what was counted."""

    def __init__(self, slurm: LocalSlurm, hostile: Hostile, folder: Path, run: Command, minute_s: float) -> None:
        self._slurm = slurm
        self._hostile = hostile
        self._cluster = folder / "run" / "cluster"
        self._run = run
        self._minute_s = minute_s
        self._began_at = time.monotonic()
        self._master = psutil.Process(run.process.pid)
        self._cpu_s = self._master_cpu_s()

    def play(self) -> None:
        """Have everything happen at its minute."""
        for minute in range(_MINUTES + 1):
            time.sleep(max(0.0, self._began_at + minute * self._minute_s - time.monotonic()))
            if minute in _EVENTS:
                words, happen = _EVENTS[minute]
                print(f"minute {minute}: {words}", flush=True)
                happen(self._slurm, self._hostile)
            if minute and minute % 10 == 0:
                print(f"minute {minute}: {self._counts()}", flush=True)

    def _counts(self) -> str:
        files = [path for path in self._cluster.iterdir() if path.is_file()]
        share = (self._master_cpu_s() - self._cpu_s) / (time.monotonic() - self._began_at)
        return ", ".join(
            [
                *(f"{self._hostile.n_calls(name)} calls of {name}" for name in COMMANDS),
                f"{sum(path.stat().st_size for path in files):,} bytes in {len(files)} files",
                f"master {share:.3f} of a core",
                f"{len(self._slurm.in_state('RUNNING'))} jobs run",
            ]
        )

    def _master_cpu_s(self) -> float:
        return float(sum(self._master.cpu_times()[:2]))


def _cancel(slurm: LocalSlurm, _: Hostile) -> None:
    slurm.call("scancel", slurm.in_state("RUNNING")[0].id)


def _kill_worker(slurm: LocalSlurm, _: Hostile) -> None:
    workers = (process for process in slurm.processes() if "distributed.cli.dask_worker" in process.cmdline())
    next(workers).kill()


def _order(name: str, what: str, *, once: bool = True) -> Callable[[LocalSlurm, Hostile], None]:
    def order(slurm: LocalSlurm, hostile: Hostile) -> None:
        hostile.order(name, what, once=once)
        if name == "sbatch":
            _cancel(slurm, hostile)

    return order


_EVENTS: dict[int, tuple[str, Callable[[LocalSlurm, Hostile], None]]] = {
    10: ("squeue hangs for ten minutes", _order("squeue", "hang", once=False)),
    14: ("a job is cancelled by its user", _cancel),
    20: ("squeue answers again", lambda _, hostile: hostile.behave("squeue")),
    25: ("slurmctld is killed", lambda slurm, _: slurm.kill_controller()),
    27: ("a worker is killed", _kill_worker),
    30: ("slurmctld starts again", lambda slurm, _: slurm.start_controller()),
    36: ("a job is cancelled, and sbatch gives no answer to what it accepts", _order("sbatch", "done-busy")),
    42: ("a job is cancelled, and sbatch answers after two minutes", _order("sbatch", "done-slow", once=False)),
    44: ("sbatch answers", lambda _, hostile: hostile.behave("sbatch")),
    48: ("a job is cancelled, and sbatch submits twice", _order("sbatch", "twice")),
    _MINUTES: ("Ctrl-C, and scancel fails once", _order("scancel", "busy")),
}


@contextmanager
def _set_up() -> Iterator[tuple[LocalSlurm, Hostile, Path]]:
    with tempfile.TemporaryDirectory(prefix="gadask-hour-") as folder, local_slurm() as slurm:
        os.environ["SLURM_CONF"] = str(slurm.conf)
        (commands := Path(folder) / "commands").mkdir()
        write_files(Path(folder), step_s=_STEP_S, generations=100_000, wall_time="02:00:00")
        yield slurm, hostile_commands(commands), Path(folder)


def main() -> None:
    """Print what happens and what is counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minute-s", type=float, default=60.0, help="seconds of a minute, to try it out")
    given = parser.parse_args()
    with _set_up() as (slurm, hostile, folder):
        with started(slurm_command(folder, *_FLAGS), folder, PATH=hostile.path) as run:
            slurm.wait_for(_N_NODES, "RUNNING", deadline_s=300)
            _Hour(slurm, hostile, folder, run, given.minute_s).play()
            run.process.send_signal(signal.SIGINT)
            print(f"exit status {run.finish(180)}; it said:\n{run.err}")
        slurm.wait_for_empty_queue()
        played = parents(folder / "run")
        flags = ("--rollouts-per-node", 2, "--env.kwargs.step-s", 0, "--budget.generations", len(played))
        subprocess.run(command(folder, *flags, run="here"), env=environment(), capture_output=True, check=True)
        same = "are" if parents(folder / "here") == played else "ARE NOT"
        print(f"no job is left; the parents of {len(played)} generations {same} those of a run on this machine")


if __name__ == "__main__":
    main()
