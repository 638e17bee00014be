"""Job scripts: the directives of a machine file, and the command that starts a node's worker."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from distributed.security import Security

from gadask.clusters import allocation
from gadask.clusters.jobqueue import job_script
from gadask.clusters.kinds import KINDS
from gadask.clusters.machine import Machine, check_machine
from gadask.clusters.slurm import Slurm
from gadask.errors import ConfigError
from gadask.shipped import ALLOCATION

SLURM = Slurm()

MACHINE = Machine(
    name="peta4",
    partition="skylake",
    account="ME-SL3-CPU",
    cores=32,
    memory="187GiB",
    wall_time="12:00:00",
    preamble=("module purge", "module load python"),
    interface="ib0",
    scratch="$TMPDIR/my scratch",
    extra_directives=("--qos=long",),
    skip_directives=("--mem",),
    python="/opt/my python/bin/python",
    leave_before_s=600,
)


def test_the_job_script(tmp_path: Path) -> None:
    folder = tmp_path / "my runs" / "cluster"
    head, *body = job_script(SLURM, MACHINE, folder).split("\nmodule purge\n")
    assert [line.removeprefix("#SBATCH ") for line in head.splitlines() if line][1:] == [
        "-J gadask-peta4",
        "-p skylake",
        "-A ME-SL3-CPU",
        "-n 1",
        "--cpus-per-task=32",
        "-t 12:00:00",
        "--signal=B:TERM@200",
        f'--output="{folder}/job-%j.log"',
        "--open-mode=append",
        "--no-requeue",
        "--qos=long",
    ]
    (text,) = body
    load, *exports, worker = text.splitlines()
    assert load == "module load python"
    assert "export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=20" in exports
    assert all(line.startswith("export DASK_") for line in exports)
    bash = f"TMPDIR=/scratch; SECONDS=100; printf '%s\\n' {worker.removeprefix('exec ')}"
    words = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True).stdout.splitlines()
    assert worker.startswith("exec ")  # or Slurm's TERM would end at the shell
    assert words[:4] == ["/opt/my python/bin/python", "-m", "distributed.cli.dask_worker", "tls://SCHEDULER"]
    flags = dict(pairwise(words))
    assert flags["--lifetime"] == f"{43_200 - 600 - 300 - 100}s"
    assert flags["--lifetime-stagger"] == "300s"
    assert flags["--local-directory"] == "/scratch/my scratch"
    assert flags["--tls-key"] == str(folder / "key.pem")
    assert flags["--dashboard-address"] == "127.0.0.1:0"
    assert {"--nanny", "--no-dashboard", "--interface"} <= flags.keys()


def directives(machine: Machine, folder: Path) -> list[str]:
    return re.findall("(?m)^#SBATCH (.*)$", job_script(SLURM, machine, folder))


def test_a_directive_is_skipped_by_its_whole_name_gadasks_own_too(tmp_path: Path) -> None:
    every = directives(MACHINE, tmp_path)
    skipping = replace(MACHINE, skip_directives=("-t", "--signal", "-n", "--open-mode=append"))
    left = directives(skipping, tmp_path)
    assert set(every) - set(left) == {"-n 1", "-t 12:00:00", "--signal=B:TERM@200", "--open-mode=append"}
    assert "--cpus-per-task=32" in left


def test_a_per_cent_sign_in_the_folder_is_no_pattern_of_sbatchs(tmp_path: Path) -> None:
    (output,) = (text for text in directives(Machine(), tmp_path / "50%j") if text.startswith("--output"))
    assert output == f'--output="{tmp_path}/50%%j/job-%j.log"'


def test_a_job_script_of_no_demands_leaves_the_sites_defaults(tmp_path: Path) -> None:
    script = job_script(SLURM, Machine(), tmp_path)
    assert not re.search(r"#SBATCH (-p|-A) |--interface|None", script)
    assert f"exec {shlex.quote(sys.executable)} -m" in script


def memory(text: str, **changes: object) -> list[str]:
    """Return the directives about memory in a job script with this `memory`."""
    machine = Machine(memory=text, cores=76, **changes)  # type: ignore[arg-type]
    KINDS["slurm"].check_machine(machine)
    return [line for line in directives(machine, Path("/folder")) if line.startswith("--mem")]


@pytest.mark.parametrize(
    ("text", "directive", "limit"),
    [
        ("187GiB", "--mem=187G", "187.00GiB"),
        ("180 GB", "--mem=171662M", "167.64GiB"),
        ("1B", "--mem=1M", "1B"),
        ("3380MiB per core", "--mem-per-cpu=3380M", "250.86GiB"),
        ("4GiB per core", "--mem-per-cpu=4G", "304.00GiB"),
        ("all", "--mem=0", "0B"),
    ],
)
def test_memory_is_asked_for_by_the_node_by_the_core_or_whole(text: str, directive: str, limit: str) -> None:
    assert memory(text) == [directive]
    script = job_script(SLURM, Machine(memory=text, cores=76), Path("/folder"))
    assert re.search(r"--memory-limit ([\d.]+)(\w+)", script).expand(r"\1\2").replace(".0B", "B") == limit  # type: ignore[union-attr]


def test_memory_may_be_left_to_the_site_or_to_directives_of_ones_own() -> None:
    assert memory("default") == []
    assert memory("default", extra_directives=("--mem-per-gpu=40G",)) == ["--mem-per-gpu=40G"]
    own = "--mem-per-cpu=5G"
    assert memory("60GB", extra_directives=(own,), skip_directives=("--mem",)) == [own]
    assert memory("1GiB per core", extra_directives=("--mem=7G",), skip_directives=("--mem-per-cpu",)) == ["--mem=7G"]
    for text in ("60GB", "all"):
        with pytest.raises(ConfigError, match=f"^extra_directives: expected one kind of memory.* memory = '{text}', f"):
            memory(text, extra_directives=(own,))


LAUNCHER = "apptainer exec --bind '/my data:/data' --env A=$HOME;*  \"/images/it's new.sif\""


def test_a_launcher_stands_before_python_with_its_words_as_they_are(tmp_path: Path) -> None:
    words = [
        "apptainer",
        "exec",
        "--bind",
        "/my data:/data",
        "--env",
        "A=$HOME;*",
        "/images/it's new.sif",
        "/opt/my python/bin/python",
        "-m",
    ]
    *_, command = job_script(SLURM, replace(MACHINE, launcher=LAUNCHER), tmp_path).splitlines()
    start = command.partition(" distributed")[0]
    assert start.startswith("exec ")  # or Slurm's TERM would end at the shell
    assert shlex.split(start)[1:] == words
    keys = Security(tls_ca_file="c", tls_worker_cert="c", tls_worker_key="k", require_encryption=True)
    step = allocation._step("n1", "n1-0", replace(MACHINE, launcher=LAUNCHER), "tls://SCHEDULER", keys)
    at = step.index("apptainer")
    assert step[at : at + len(words)] == words
    assert step[at - 4 : at - 2] == ["bash", "-c"]


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("apptainer exec 'a.sif", 'launcher: expected words as in a shell, found "apptainer exec \'a.sif": No closing'),
        (" ", "launcher: expected a command, found ' '"),
        ("", "launcher: expected a command, found ''"),
        ("env\nrm", "launcher: expected text without line breaks"),
    ],
)
def test_what_is_no_command_is_one_line(launcher: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_machine(Machine(launcher=launcher))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_allocations_master_has_a_launcher_too(tmp_path: Path) -> None:
    launched = tmp_path / "my launcher"
    launched.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    launched.chmod(0o755)

    def run(launcher: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", "GADASK_PYTHON": "/no/python", "GADASK_LAUNCHER": launcher}
        words = ["bash", str(ALLOCATION), "config.toml"]
        return subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run(f"'{launched}' exec 'an image'")
    expected = ["exec", "an image", "/no/python", "-P", "-m", "gadask", "run", "config.toml", "--cluster", "allocation"]
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")
    assert "/no/python: No such file or directory" in run("").stderr
    broken = run("'")
    assert (broken.returncode, broken.stdout) == (2, "")
