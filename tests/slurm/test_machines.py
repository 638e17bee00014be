"""Several machines in one run on a real Slurm: jobs of both kinds, and one that loses all of its own half-way."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from gadask.clusters.jobcluster import JobCluster
from gadask.clusters.keeper import Keeper
from gadask.clusters.wanted import Wanted
from tests.conftest import eventually
from tests.slurm.hostile import Hostile, hostile
from tests.slurm.kept import MACHINE, QUICK, arrive, keep
from tests.slurm.local_slurm import LocalSlurm, SlurmJob
from tests.slurm.runs import command, environment, parents, rollout_processes, started, sweep_command, write_files

__all__ = ["hostile"]

pytestmark = pytest.mark.usefixtures("no_leaks")

GENERATIONS = 10


def write_machines(folder: Path, **options: float) -> tuple[object, ...]:
    """Write the files of a run with two machines; returns its flags for nodes."""
    write_files(folder, **options)  # type: ignore[arg-type]
    text = (folder / "machine.toml").read_text()
    (folder / "wide.toml").write_text(f"{text}rollouts_per_node = 2\n")
    narrow = text.replace("cores = 32", "cores = 8").replace('"1GB"', '"2GB"')
    (folder / "narrow.toml").write_text(f'{narrow}rollouts_per_node = 3\nextra_directives = ["--comment=narrow"]\n')
    return ("--cluster", "slurm", "--machine", f"{folder}/wide.toml:1", "--machine", f"{folder}/narrow.toml:1")


def of(machine: str, jobs: list[SlurmJob]) -> list[SlurmJob]:
    return [job for job in jobs if job.name.startswith(f"gadask-{machine}-")]


def cores(slurm: LocalSlurm) -> Counter[str]:
    """Return the cores of the jobs that run, by machine."""
    lines = slurm.call("squeue", "--noheader", "--states=running", "--format=%j|%C|%k").split()
    found: Counter[str] = Counter()
    for name, n_cores, comment in (line.split("|") for line in lines):
        machine = name.split("-")[1]
        assert (comment == "narrow") == (machine == "narrow")
        found[machine] += int(n_cores)
    return found


@pytest.mark.slow
def test_a_machine_that_loses_all_its_jobs_gets_them_back_and_the_result_is_that_of_the_local_run(
    slurm: LocalSlurm, tmp_path: Path
) -> None:
    flags = write_machines(tmp_path, step_s=0.05, generations=GENERATIONS)
    with started(command(tmp_path, *flags), tmp_path) as run:
        run.wait_for("on 2 nodes of wide \\(1\\) and narrow \\(1\\)")
        run.wait_for("nodes: 2 of 2 running")
        run.wait_for("gen +0 ")
        assert cores(slurm) == {"wide": 32, "narrow": 8}
        assert sorted(n for n in map(rollout_processes, slurm.processes()) if n > 1) == [2, 3]
        (lost,) = of("narrow", slurm.wait_for(2, "RUNNING"))
        slurm.call("scancel", lost.id)
        run.wait_for("nodes: 2 of 2 running, 1 lost")
        assert [job.id > lost.id for job in of("narrow", slurm.in_state("RUNNING"))] == [True]
        assert run.finish(300) == 0, run.err
    assert [re.sub("after.*", "", line.partition("asked for: ")[2]) for line in run.err.splitlines()] == [
        f"job {lost.id} on {lost.node}: CANCELLED "
    ]
    slurm.wait_for_empty_queue()
    assert len(of("narrow", slurm.jobs(ended=True))) == 2
    assert len(of("wide", slurm.jobs(ended=True))) == 1
    scripts = {path.name for path in (tmp_path / "run" / "cluster").glob("*.sh")}
    assert scripts == {"job-wide.sh", "job-narrow.sh"}
    write_files(tmp_path, step_s=0, generations=GENERATIONS)
    subprocess.run(command(tmp_path, run="local"), env=environment(), capture_output=True, check=True)
    assert len(parents(tmp_path / "run")) == GENERATIONS
    assert parents(tmp_path / "run") == parents(tmp_path / "local")


def test_the_runs_of_a_study_share_the_nodes_of_both_machines(slurm: LocalSlurm, tmp_path: Path) -> None:
    flags = write_machines(tmp_path, step_s=0.02, generations=3)
    words = sweep_command(tmp_path)
    with started([*words[: words.index("--cluster")], *map(str, flags)], tmp_path) as sweep:
        assert sweep.finish() == 0, sweep.err
    assert (sweep.err, sweep.out.count(" finished: 3 generations")) == ("", 2)
    slurm.wait_for_empty_queue()
    jobs = slurm.jobs(ended=True)
    assert (len(of("wide", jobs)), len(of("narrow", jobs)), len(jobs)) == (1, 1, 2)


def test_the_queue_is_asked_once_a_look_whatever_the_number_of_machines(
    slurm: LocalSlurm, hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Keeper._look

    async def counted(keeper: Keeper) -> None:
        nonlocal looks
        looks += 1
        await look(keeper)

    async def lose(cluster: JobCluster) -> None:
        await arrive(cluster, n_nodes=2)
        slurm.call("scancel", of("narrow", slurm.in_state("RUNNING"))[0].id)
        await arrive(cluster, n_nodes=2, n_lost=1)
        asked = looks
        await eventually(lambda: looks >= asked + 3, 60, "three more looks")
        assert hostile.n_calls("squeue") in (looks - 1, looks)  # one may be about to ask
        assert looks > 3

    monkeypatch.setenv("PATH", hostile.path)
    monkeypatch.setattr(Keeper, "_look", counted)
    wide, narrow = replace(MACHINE, name="wide"), replace(MACHINE, name="narrow", cores=8)
    keep(tmp_path, [Wanted(wide, 1), Wanted(narrow, 1)], lose, periods=QUICK)
    assert slurm.in_state("PENDING", "RUNNING") == []


def test_one_machine_may_be_refused_and_a_pending_reason_is_told(slurm: LocalSlurm, tmp_path: Path) -> None:
    flags = write_machines(tmp_path, generations=10_000)
    narrow = tmp_path / "narrow.toml"
    good = narrow.read_text()
    narrow.write_text(good.replace('"skylake"', '"skylark"'))
    three = (*flags[:3], f"{tmp_path}/wide.toml:3", *flags[4:])
    with started(command(tmp_path, *three), tmp_path) as run:
        run.wait_for(r"nodes: 2 of 4 running, 1 pending \((Resources|Priority)\)")
        assert cores(slurm) == {"wide": 64}
        run.process.send_signal(signal.SIGINT)
        assert run.finish(60) == 130
    (line,) = run.err.splitlines()
    assert "1 job of narrow not accepted, and asked for again later: sbatch: " in line
    assert "skylark" in line
    slurm.wait_for_empty_queue()
