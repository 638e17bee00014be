"""Machine files: what is read, from where, what is refused and in which words, and what a run costs."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.clusters.kinds import KINDS
from gadask.clusters.machine import (
    Machine,
    check_complete,
    check_machine,
    load_machine,
    machine_names,
)
from gadask.clusters.slurm import option_name
from gadask.clusters.wanted import Wanted, cost_text, job_core_hours, largest_cost
from gadask.config import BudgetConfig
from gadask.console.node_flags import NodeFlags, check_node_flags, dry_run
from gadask.errors import ConfigError
from gadask.shipped import SITES

DIRECTIVES = {
    "archer2": ["-p standard", "--cpus-per-task=128", "-t 24:00:00", "--qos=standard"],
    "csd3-cclake": ["-p cclake", "--cpus-per-task=56", "--mem=187G", "-t 12:00:00"],
    "csd3-icelake": ["-p icelake", "--cpus-per-task=76", "--mem=250G", "-t 12:00:00"],
    "csd3-sapphire": ["-p sapphire", "--cpus-per-task=112", "-t 12:00:00"],
    "delftblue": ["-p compute", "--cpus-per-task=48", "--mem-per-cpu=3968M", "-t 24:00:00"],
    "generic": ["--cpus-per-task=32", "--mem=57221M", "-t 12:00:00"],
    "lumi-c": ["-p standard", "--cpus-per-task=128", "--mem=0", "-t 1-00:00:00"],
    "one-machine": ["--cpus-per-task=4", "--mem=2862M", "-t 1-00:00:00"],
    "peta4-skylake": ["-p skylake", "--cpus-per-task=32", "--mem=186G", "-t 12:00:00"],
    "peta4-skylake-himem": ["-p skylake-himem", "--cpus-per-task=32", "--mem=375G", "-t 12:00:00"],
}
"""By site, the directives that differ between sites."""

NAMES = sorted(DIRECTIVES)


@pytest.fixture(autouse=True)
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder of the user's own machine files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "gadask"
    folder.mkdir(parents=True)
    return folder


def refusal(name_or_path: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_machine(str(name_or_path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_machines_that_come_with_gadask_can_be_used(name: str) -> None:
    machine = load_machine(name)
    assert machine == load_machine(str(SITES / f"{name}.toml"))
    assert machine.name == name
    check_complete(dataclasses.replace(machine, account="SMITH-SL3-CPU"))


@pytest.mark.parametrize("name", NAMES)
def test_a_sites_dry_run_shows_what_the_site_wants(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = NodeFlags(cluster="slurm", machine=(name,), fields=load_machine(name), dry_run=True)
    check_node_flags(flags)
    dry_run(flags, tmp_path, lambda _: "much")
    out = capsys.readouterr().out
    directives = re.findall("(?m)^#SBATCH (.*)$", out)
    common = re.compile(r"-J gadask-.*|-n 1|--signal=B:TERM@60|--output=.*|--open-mode=append|--no-requeue")
    assert [text for text in directives if not common.fullmatch(text)] == DIRECTIVES[name]
    assert ("not yet complete: --machine.account" in out) == ("account" in flags.fields.required)
    assert all(f"\n{line}\n" in out for line in flags.fields.preamble)


@pytest.mark.parametrize("name", ["archer2", "csd3-cclake", "csd3-sapphire", "delftblue", "lumi-c"])
def test_a_sites_file_says_where_its_facts_are_from_and_when(name: str) -> None:
    words = " ".join((SITES / f"{name}.toml").read_text().replace("\n#", "").split())
    assert re.search(r"Source: .*https://.* read in November 2026", words)


def test_every_machine_file_is_listed() -> None:
    assert machine_names() == NAMES


def test_peta4_is_asked_for_whole_nodes() -> None:
    skylake, himem = load_machine("peta4-skylake"), load_machine("peta4-skylake-himem")
    assert (skylake.partition, skylake.cores, skylake.memory, skylake.wall_time_s) == ("skylake", 32, "186GiB", 43_200)
    assert skylake.preamble[-1] == "module load rhel7/default-peta4"
    assert himem == dataclasses.replace(skylake, name=himem.name, partition="skylake-himem", memory="375GiB")


def test_generic_is_what_a_machine_is_by_default() -> None:
    assert load_machine("generic") == Machine()


def test_a_site_that_needs_an_account_says_how_to_give_one(users: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_complete(load_machine("peta4-skylake"))
    text = str(caught.value)
    assert text.startswith("account: peta4-skylake requires it, found none")
    assert "--machine.account" in text
    assert str(users / "peta4-skylake.toml") in text
    assert 'base = "peta4-skylake"' in text


def test_a_users_file_wins_and_may_change_its_namesake(users: Path) -> None:
    (users / "peta4-skylake.toml").write_text('base = "peta4-skylake"\naccount = "SMITH-SL3-CPU"\n')
    site = load_machine(str(SITES / "peta4-skylake.toml"))
    assert load_machine("peta4-skylake") == dataclasses.replace(site, account="SMITH-SL3-CPU")
    assert load_machine("peta4-skylake-himem").account == "SMITH-SL3-CPU"  # made from it
    assert site.account is None


def test_a_file_may_be_made_from_one_beside_it(users: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text('cores = 48\npreamble = ["module load python", "ulimit -n 4096"]\n')
    (users / "mine.toml").write_text('base = "../../ours.toml"\nmemory = "90 GB"\n')
    mine = load_machine("mine")
    assert (mine.name, mine.cores, mine.memory) == ("mine", 48, "90 GB")
    assert mine.preamble == ("module load python", "ulimit -n 4096")


def test_without_xdg_the_users_files_are_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config" / "gadask").mkdir(parents=True)
    (tmp_path / ".config" / "gadask" / "mine.toml").write_text("cores = 3")
    assert load_machine("mine").cores == 3


@pytest.mark.parametrize(
    ("page", "name", "expected"),
    [
        ("clusters.md", "csd3-icelake", ("SMITH-SL3-CPU", 76, "250GiB")),
        ("how-to/your-site.md", "SITE", ("my-project", 48, "180GB")),
    ],
)
def test_the_machine_file_of_a_guide_can_be_used(
    users: Path, page: str, name: str, expected: tuple[str, int, str]
) -> None:
    guide = (Path(__file__).parents[1] / "docs" / page).read_text()
    text = textwrap.dedent(guide.split("<< 'END'\n")[1].split("   END\n")[0])
    (users / f"{name}.toml").write_text(text)
    machine = load_machine(name)
    check_complete(machine)
    assert (machine.account, machine.cores, machine.memory) == expected


def test_files_made_from_each_other_are_refused(users: Path) -> None:
    (users / "one.toml").write_text('base = "two"')
    (users / "two.toml").write_text('base = "one"')
    assert "base: expected another machine, found 'one', which is made from this one" in refusal("one")
    (users / "self.toml").write_text('base = "../gadask/self.toml"')
    assert "which is made from this one" in refusal("self")


def test_a_misspelt_name_is_answered_with_the_nearest(users: Path) -> None:
    assert refusal("peta4-skylak") == "no machine is called 'peta4-skylak'; did you mean 'peta4-skylake'?"
    (users / "our-cluster.toml").write_text("")
    assert refusal("our-clusters") == "no machine is called 'our-clusters'; did you mean 'our-cluster'?"
    assert refusal("zzz").endswith("expected one of " + ", ".join(sorted([*NAMES, "our-cluster"])))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert refusal(path) == f"{path}: cannot read the machine file: No such file or directory"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acount = 'x'", "unknown key 'acount'; did you mean 'account'?"),
        ("[slurm]", "unknown key 'slurm'; expected one of account, confirm_core_hours, cores,"),
        ("cores", "not a TOML file"),
        ("base = 3", "base: expected the name of a machine or its file, found 3"),
        ("base = 'nowhere'", "no machine is called 'nowhere'"),
        ("cores = '32'", "cores: expected int, found '32' (str)"),
        ("cores = 0", "cores: expected at least 1, found 0"),
        ("rollouts_per_node = 0", "rollouts_per_node: expected at least 1, found 0"),
        ("memory = 180", "memory: expected str, found 180 (int)"),
        (
            "memory = '180'",
            "memory: expected a size such as '180GB' or '187GiB', one by the core such as '3380MiB per core',",
        ),
        ("memory = '0GB'", "memory: expected a size such as"),
        ("memory = 'ALL'", "memory: expected a size such as"),
        ("memory = 'all per core'", "memory: expected a size such as"),
        ("launcher = 'env \"'", "launcher: expected words as in a shell, found 'env \"': No closing quotation"),
        ("wall_time = '12:00'", "wall_time: expected HH:MM:SS or D-HH:MM:SS, found '12:00'"),
        ("wall_time = '00:61:00'", "wall_time: expected HH:MM:SS or D-HH:MM:SS, found '00:61:00'"),
        ("wall_time = 12", "wall_time: expected str, found 12 (int)"),
        ("wall_time = '00:00:00'", "wall_time: expected more than no time, found '00:00:00'"),
        ("wall_time = '00:02:00'", "leave_before_s: expected 0 to less than the wall time (120 s), found 180.0"),
        ("preamble = 'module purge'", "preamble: expected a list of strings, found 'module purge'"),
        ("preamble = [1]", "preamble: expected a list of strings, found [1]"),
        ('preamble = ["a\\nb"]', "preamble: expected text without line breaks, and not empty, found ('a\\nb',)"),
        ('partition = "a\\n#SBATCH -A theirs"', "partition: expected text without line breaks"),
        ("account = ''", "account: expected text without line breaks, and not empty, found ''"),
        ("extra_directives = ['qos=long']", "extra_directives: expected directives such as '--mem'"),
        ("name = 'a b'", "name: expected letters, digits, '.', '_' and '-', found 'a b'"),
        ("required = ['acount']", "required: expected names of fields"),
        ("max_failures_per_node_hour = inf", "max_failures_per_node_hour: expected a finite number above 0, found inf"),
        ("confirm_core_hours = -1", "confirm_core_hours: expected at least 0, found -1"),
    ],
)
def test_what_no_node_can_have_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "machine.toml"
    path.write_text(text)
    assert refusal(path).startswith(f"{path}: {message}")


def test_an_error_in_a_base_names_both_files(users: Path) -> None:
    (users / "site.toml").write_text("cores = 0")
    (users / "mine.toml").write_text('base = "site"')
    assert refusal("mine") == f"{users / 'mine.toml'}: {users / 'site.toml'}: cores: expected at least 1, found 0"


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_wall_time_is_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    seconds_of_day = (hours * 60 + minutes) * 60 + seconds
    clock = f"{hours:02d}:{minutes:02d}:{seconds:02d}"
    assert Machine(wall_time=clock).wall_time_s == seconds_of_day
    assert Machine(wall_time=f"{days}-{clock}").wall_time_s == 86_400 * days + seconds_of_day


@pytest.mark.parametrize("memory", ["1B", "1.5GB", "180 GB", "187GiB", "2TB", "6000MiB"])
def test_memory_may_be_written_as_dask_reads_it(memory: str) -> None:
    from dask.utils import parse_bytes

    machine = Machine(memory=memory, cores=3)
    check_machine(machine)
    assert machine.job_memory.of_job(3) == parse_bytes(memory)
    by_core = dataclasses.replace(machine, memory=f"{memory} per core")
    check_machine(by_core)
    assert by_core.job_memory.of_job(3) == 3 * parse_bytes(memory)


def test_a_run_costs_cores_times_hours() -> None:
    peta4 = [Wanted(load_machine("peta4-skylake"), 8)]
    assert job_core_hours(peta4, 5) == 1280  # what ga-dist took for a game
    assert largest_cost(peta4, BudgetConfig(hours=5)) == 1280
    assert cost_text(peta4, BudgetConfig(hours=5)).startswith("1,280 core-hours (5 h at 256 core-hours an hour)")
    assert largest_cost(peta4, BudgetConfig(generations=5)) == math.inf
    assert cost_text(peta4, BudgetConfig()).startswith("no limit: 256 core-hours an hour")


@pytest.mark.parametrize(
    ("directive", "name"),
    [
        ("--mem", "mem"),
        ("--mem=60GB", "mem"),
        ("--mem-per-cpu=1G", "mem-per-cpu"),
        ("-t", "time"),
        ("-t 12:00:00", "time"),
        ("-c32", "cpus-per-task"),
        ("--qos long", "qos"),
        ("-H", "H"),
    ],
)
def test_the_option_of_a_directive(directive: str, name: str) -> None:
    assert option_name(directive) == name


def test_only_directives_that_job_scripts_have_are_skipped_and_the_name_is_not() -> None:
    KINDS["slurm"].check_machine(Machine(skip_directives=("--mem", "-t", "--signal", "--output", "-c")))
    for machine, expected in {
        Machine(skip_directives=("--cpu",)): "skip_directives: expected some of --account, --cpus-per-task, --mem, ",
        Machine(skip_directives=("-J",)): "skip_directives: expected some of --account",
        Machine(extra_directives=("--job-name=mine",)): "extra_directives: expected no --job-name, by which gadask",
        Machine(poll_s=0.1): "poll_s: expected a finite number of at least 1, found 0.1",
    }.items():
        with pytest.raises(ConfigError, match=f"^{expected}"):
            KINDS["slurm"].check_machine(machine)
