"""Several machines in one run: flags and their errors, job scripts and costs; `test_kept_machines.py` has the rest."""

from __future__ import annotations

import dataclasses
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

import gadask
from gadask.clusters.jobqueue import job_script, lifetime
from gadask.clusters.keptmachine import KeptMachine
from gadask.clusters.machine import Machine, load_machine
from gadask.clusters.slurm import Slurm
from gadask.clusters.wanted import Wanted, cost_text, largest_cost, rollouts_of_all, split_nodes
from gadask.config import BudgetConfig
from gadask.console import command_line
from gadask.console.node_flags import NodeFlags, check_node_flags, confirm_cost, default_node_flags, dry_run
from gadask.errors import ClusterError, ConfigError, UsageError

BOTH = ("--cluster", "slurm", "--machine", "wide:6", "--machine=narrow:2")


@pytest.fixture(autouse=True)
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own machine files, which has two."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    folder = tmp_path / "config" / "gadask"
    folder.mkdir(parents=True)
    (folder / "wide.toml").write_text('cores = 32\npartition = "skylake"\nconfirm_core_hours = 500\n')
    (folder / "narrow.toml").write_text('cores = 8\npartition = "icelake"\nrollouts_per_node = 5\n')
    return folder


def parsed(*argv: str) -> NodeFlags:
    flags = command_line.parse(argv, default_node_flags(argv))
    check_node_flags(flags)
    return flags


def test_each_machine_has_its_own_nodes_and_fields() -> None:
    flags = parsed(*BOTH)
    assert flags.wanted == (Wanted(load_machine("wide"), 6), Wanted(load_machine("narrow"), 2))
    assert (flags.n_nodes, flags.where) == (8, "8 nodes of wide (6) and narrow (2)")
    three = parsed(*BOTH, "--machine", "generic:1")
    assert three.where == "9 nodes of wide (6), narrow (2) and generic (1)"


def test_one_machine_may_have_its_nodes_either_way(users: Path) -> None:
    for words in (("--machine", "wide:3"), ("--machine", "wide", "--nodes", "3")):
        flags = parsed("--cluster", "slurm", *words, "--machine.cores", "16")
        assert flags.wanted == (Wanted(dataclasses.replace(load_machine("wide"), cores=16), 3),)
        assert (flags.fields.cores, flags.where) == (16, "3 nodes of wide")
    assert parsed("--cluster", "slurm", "--machine", "wide").n_nodes == 1
    path = users / "a:1" / "of:2.toml"
    path.parent.mkdir()
    path.write_text('cores = 7\nname = "of"')
    for text, n_nodes in ((str(path), 1), (f"{path}:4", 4)):
        (found,) = parsed("--cluster", "slurm", "--machine", text).wanted
        assert (found.machine.cores, found.n_nodes) == (7, n_nodes)
    assert split_nodes("folder:3/site") == ("folder:3/site", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("wide:6", "--nodes", "2"),
            "--nodes: expected no such flag beside --machine wide:6, which says how many, fou",
        ),
        (("wide:6", "narrow:2", "--nodes", "8"), "--nodes: expected no such flag beside --machine wide:6, which says"),
        (("wide:6", "narrow"), "--machine: expected NAME:NODES for each of several machines, found 'narrow'"),
        (("wide", "narrow"), "--machine: expected NAME:NODES for each of several machines, found 'wide'"),
        (("wide:0",), "--machine: expected NAME or NAME:NODES with at least 1 node, found 'wide:0'"),
        (("wide:x",), "--machine: expected NAME or NAME:NODES with at least 1 node, found 'wide:x'"),
        (("wide:6", "narrow:-1"), "--machine: expected NAME or NAME:NODES with at least 1 node, found 'narrow:-1'"),
        ((":6",), "--machine: expected NAME or NAME:NODES with at least 1 node, found ':6'"),
        (("wide:",), "--machine: expected NAME or NAME:NODES with at least 1 node, found 'wide:'"),
        (
            ("wide:6", "narrow:2", "--machine.cores", "32"),
            "--machine.cores: expected with one --machine, found with 2; write it into a machine file, which with",
        ),
        (("wide:6", "wide:2"), "--machine: expected machines with different names, found 'wide' twice"),
        (("wide:6", "renamed:2"), "--machine: expected machines with different names, found 'wide' twice"),
        (("wide:6", "shared:2"), "--machine: expected one folder `shared` for all machines, found '/scratch', none"),
        (
            ("fabric:6", "login:2"),
            "--machine: expected one scheduler_interface (by default interface) for all machines, found 'eth0', 'ib0'",
        ),
        (("wide:6", "nowhere:2"), "no machine is called 'nowhere'"),
        (("wide:6", "poor:2"), "--machine poor: account: poor requires it, found none; write it into "),
        (("wide:6", "tagged:2"), "--machine tagged: extra_directives: expected no --job-name, by which gadask knows"),
        (
            ("wide:6", "narrow:2", "--cluster", "allocation"),
            "--machine: expected one with allocation, and several with slurm, sge, pbs or lsf alone, found 2",
        ),
        (
            ("wide:6", "--cluster", "allocation"),
            "--machine: expected NAME alone with --cluster allocation, found 'wide",
        ),
        (
            ("wide:6", "narrow:2", "--cluster", "local"),
            "--machine: expected with --cluster slurm, sge, pbs, lsf or all",
        ),
    ],
)
def test_machines_that_cannot_be_in_one_run_are_one_line(users: Path, words: tuple[str, ...], message: str) -> None:
    for name, text in {
        "renamed": 'name = "wide"',
        "shared": 'shared = "/scratch"',
        "fabric": 'interface = "ib0"',
        "login": 'interface = "ib0"\nscheduler_interface = "eth0"',
        "poor": 'required = ["account"]',
        "tagged": 'extra_directives = ["--job-name=mine"]',
    }.items():
        (users / f"{name}.toml").write_text(text)
    machines = list(takewhile(lambda word: not word.startswith("-"), words))
    given = [part for name in machines for part in ("--machine", name)]
    with pytest.raises(UsageError) as caught:
        parsed("--cluster", "slurm", *given, *words[len(machines) :])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_interfaces_may_differ_where_the_schedulers_is_one(users: Path) -> None:
    (users / "fabric.toml").write_text('interface = "ib0"')
    (users / "other.toml").write_text('interface = "ib1"\nscheduler_interface = "ib0"')
    assert parsed("--cluster", "slurm", "--machine", "fabric:1", "--machine", "other:1").n_nodes == 2


def test_a_dry_run_shows_each_script_with_its_own_cost_and_the_sum(
    users: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (users / "narrow.toml").write_text('cores = 8\nrequired = ["account"]')
    budget = BudgetConfig(hours=5)
    dry_run(parsed(*BOTH, "--dry-run"), tmp_path / "run", lambda wanted: cost_text(wanted, budget))
    wide, narrow, end = re.split(r"\n\n\d jobs? of this script; largest cost: ", capsys.readouterr().out)
    assert "#SBATCH -J gadask-wide\n#SBATCH -p skylake\n#SBATCH -n 1\n#SBATCH --cpus-per-task=32\n" in wide
    assert narrow.startswith("960 core-hours (5 h at 192 core-hours an hour), and the end of the last generation\n\n#!")
    assert "#SBATCH -J gadask-narrow\n#SBATCH -n 1\n#SBATCH --cpus-per-task=8\n" in narrow
    own, lacking, empty, total = end.splitlines()
    assert own.startswith("80 core-hours (5 h at 16 core-hours an hour)")
    assert lacking.startswith(
        "not yet complete: --machine narrow: account: narrow requires it, found none; write it in"
    )
    assert (empty, total.partition(" (")[0]) == ("", "8 jobs of all scripts; largest cost: 1,040 core-hours")


def test_the_least_of_the_limits_asks() -> None:
    flags = parsed(*BOTH)
    budget = BudgetConfig(hours=2.4)
    assert largest_cost(flags.wanted, budget) == pytest.approx(499.2)
    confirm_cost(flags, largest_cost(flags.wanted, budget), "little")
    more = largest_cost(flags.wanted, BudgetConfig(hours=2.5))
    with pytest.raises(UsageError, match="this may cost much, and wide asks above 500 core-hours; pass --yes to go on"):
        confirm_cost(flags, more, "much")
    assert more == 520


def test_rollouts_are_the_flags_or_each_machines_own(tmp_path: Path) -> None:
    assert parsed(*BOTH).n_processes is None
    assert parsed(*BOTH, "--rollouts-per-node", "3").n_processes == 3
    wide, narrow = (job_script(Slurm(), each.machine, tmp_path) for each in parsed(*BOTH).wanted)
    assert "GADASK_ROLLOUTS_PER_NODE" not in wide
    assert "\nexport GADASK_ROLLOUTS_PER_NODE=5\n" in narrow
    assert rollouts_of_all([Wanted(Machine(rollouts_per_node=4), 1), Wanted(Machine(rollouts_per_node=4), 2)]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 2}, "nodes: expected none beside several machines, which say how many, found 2"),
        ({"machine": {}}, "machine: expected at least one machine, found none"),
        ({"machine": {"wide": 1, "narrow": 0}}, "machine: expected at least 1 node of narrow, found 0"),
        ({"machine": {"wide": 1, Machine(name="wide"): 1}}, "machine: expected machines with different names, found"),
        (
            {"name": "allocation"},
            "machine: expected one with allocation, and several with slurm, sge, pbs or lsf alone",
        ),
        ({"name": "allocation", "machine": {"wide": 2}}, "nodes: expected with local, slurm, sge, pbs or lsf, found"),
        ({"name": "local"}, "machine: expected with slurm, sge, pbs, lsf or allocation, found with local"),
        (
            {"machine": {"wide": 1, Machine(required=("account",)): 1}},
            "account: generic requires it, found none; write",
        ),
    ],
)
def test_what_python_cannot_ask_for(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"name": "slurm", "machine": {"wide": 1, "narrow": 1}, "run_dir": tmp_path, **arguments}
    with pytest.raises(ConfigError) as caught:
        gadask.cluster(**asked)
    assert str(caught.value).startswith(message)


def test_a_machine_that_is_not_alone_is_judged_by_its_own_fields_and_named() -> None:
    short = Machine(name="short", wall_time="01:00:00", max_failures_per_node_hour=2, memory="1GB")
    kept = KeptMachine(Wanted(short, 1), is_alone=False)
    lifetime_s, stagger_s = lifetime(short)
    assert kept.is_whole_life(lifetime_s - stagger_s)
    assert not KeptMachine(Wanted(Machine(), 1)).is_whole_life(lifetime_s + stagger_s)
    assert kept.more_memory() == (
        "its memory is too little (1GB); a larger memory in its machine file, or fewer rollout processes"
    )
    kept.n_failed, kept.ended_s, kept.last_failure = 7, 3600.0, "job 9"
    kept.check_failures(3600.0)  # 3 + 2 × 2 node-hours
    with pytest.raises(ClusterError, match=r"^7 jobs of short died in 1\.5 node-hours, more than .* = 2 allows"):
        kept.check_failures(1800.0)
