"""Flags: every command's are those that tyro takes, its pages are short, and what is wrong is one line."""

from __future__ import annotations

import dataclasses
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import tyro

from gadask.__main__ import COMMANDS
from gadask.commands import run as run_command
from gadask.config import Config, EnvConfig, PolicyConfig, load_config
from gadask.console.command_line import parse
from gadask.console.flags import Flag, flags_of, with_defaults
from gadask.console.help_page import Help, short_page
from gadask.console.node_flags import NodeFlags
from gadask.console.reading import read_words
from gadask.errors import UsageError

DEFAULT = run_command.Arguments(tyro.MISSING, tyro.MISSING, Config(), NodeFlags())
NEEDED = ("cartpole", "--run-dir", "run")


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages name is the command, and not pytest."""
    monkeypatch.setattr("sys.argv", ["gadask", "run"])


def arguments_of(name: str) -> Any:
    arguments = with_defaults(import_module(COMMANDS[name][0]).Arguments)
    nested = {"settings": Config(), "nodes": NodeFlags()}
    names = {field.name for field in dataclasses.fields(arguments)}
    return dataclasses.replace(arguments, **{key: value for key, value in nested.items() if key in names})


def printed(name: str, *argv: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        import_module(COMMANDS[name][0]).main(argv)
    assert ended.value.code == 0
    return capsys.readouterr().out


def parsed(*argv: str, config: Config | None = None) -> run_command.Arguments:
    return parse([*NEEDED, *argv], DEFAULT if config is None else dataclasses.replace(DEFAULT, settings=config))


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_are_those_of_tyro(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = arguments_of(name)
    with pytest.raises(SystemExit):
        tyro.cli(type(arguments), args=["--help"], default=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    theirs = set(re.findall(r"^  (--[a-z][\w.-]*)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    ours = {flag.label.split()[0] for flag in flags_of(arguments) if not flag.is_positional}
    assert ours == theirs


def test_every_flag_of_a_run_is_read_as_tyro_reads_it() -> None:
    """With a value of its kind, in a command line for each: what passes here is no error there."""
    nothing = parsed()
    for flag in flags_of(DEFAULT):
        if not flag.is_positional and flag.name != "--run-dir":
            assert parsed(*_words(flag)) != nothing, flag.name


def _words(flag: Flag) -> list[str]:
    """Return a flag with a value that is not its default."""
    if flag.is_switch:
        return [flag.off if flag.default else flag.name]
    if get_origin(flag.kind) is Literal:
        return [flag.name, get_args(flag.kind)[-1 if flag.default != get_args(flag.kind)[-1] else 0]]
    values = {int: "7e1", float: "7.5e1", str: "seven", Path: "seven", dict: "name"}
    return [flag.name, values[flag.kind], *(["7"] if flag.kind is dict else [])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget.hours", "5min"], "--budget.hours: expected a number, found '5min'"),
        (["--budget.hours=5min"], "--budget.hours: expected a number, found '5min'"),
        (["--budget.hours", "nan"], "--budget.hours: expected a number, found 'nan'"),
        (["--budget.hours"], "--budget.hours: expected a number, found nothing"),
        (["--budget.hours", "--resume"], "--budget.hours: expected a number, found the flag --resume"),
        (["--seed", "1.5"], "--seed: expected a whole number, found '1.5'"),
        (["--seed", "1e999"], "--seed: expected a whole number, found '1e999'"),
        (["--noise.size", "inf"], "--noise.size: expected a whole number, found 'inf'"),
        (["--nodes", "many"], "--nodes: expected a whole number, found 'many'"),
        (
            ["--generation.closing", "frist"],
            "--generation.closing: expected one of 'all', 'first', found 'frist'; did you mean 'first'?",
        ),
        (["--env.kwargs", "a"], "--env.kwargs: expected names and values in turn, found 'a' without a value"),
        (["--resume=yes"], "--resume: expected no value, found 'yes'"),
        (["--noise.siz", "3"], "no flag --noise.siz; did you mean --noise.size?"),
        (["--population", "3"], "no flag --population; did you mean --generation.population?"),
        (["--no-pictrues"], "no flag --no-pictrues; did you mean --no-pictures?"),
        (["-x"], "no flag -x; `gadask run --help-all` shows all flags"),
        (["--ga.population", "3"], "--ga.population: is now --generation.population"),
        (["more"], "CONFIG: expected one, found 'cartpole' and 'more'"),
    ],
)
def test_what_no_flag_takes_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*words)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=r"^expected CONFIG and --run-dir, found none; `gadask run --help` says more$"):
        parse([], DEFAULT)
    with pytest.raises(UsageError, match=r"^expected --run-dir, found none"):
        parse(["cartpole"], DEFAULT)
    with pytest.raises(UsageError, match=r"^expected RUN_DIRS, found none"):
        parse(["--no-film"], arguments_of("report"))


def test_numbers_are_written_as_people_write_them() -> None:
    found = parsed("--noise.size", "20e6", "--seed=1_000", "--budget.generations", "inf", "--budget.elite_mean", "-5")
    assert (found.settings.noise.size, found.settings.seed) == (20_000_000, 1000)
    assert (found.settings.budget.generations, found.settings.budget.elite_mean) == (None, -5.0)
    assert parsed("--seed", "9223372036854775807").settings.seed == 2**63 - 1
    assert parsed("--seed", "1", "--seed", "2").settings.seed == 2
    assert parse(["run", "--million-frames", "1e1", "20"], arguments_of("ga-dist")).million_frames == (10, 20)


def test_a_switch_is_turned_either_way_whatever_the_file_says() -> None:
    on = Config(env=EnvConfig(behaviour=True))
    for words, wanted in (
        ([], True),
        (["--env.behaviour"], True),
        (["--env.no-behaviour"], False),
        (["--env.no-behaviour", "--env.behaviour"], True),
    ):
        assert parsed(*words, config=on).settings.env.behaviour is wanted
    assert not parsed("--no-pictures").pictures
    assert parsed("--no-pictures", "--pictures").pictures


def test_values_that_begin_with_a_dash_and_names_behind_two() -> None:
    found = parsed("--machine.extra-directives=--qos=7")
    assert found.nodes.fields.extra_directives == ("--qos=7",)
    assert parse(["--run-dir", "run", "--", "-odd"], DEFAULT).config == Path("-odd")


def test_kwargs_of_a_file_are_flags_by_name() -> None:
    given = Config(policy=PolicyConfig(kind="mlp", kwargs={"hidden": "16", "layers": [1, 2], "noise_std": 0.5}))
    found = parsed("--policy.kwargs.hidden", "32", "--policy.kwargs.noise-std", "1", config=given)
    assert found.settings.policy.kwargs == {"hidden": "32", "layers": [1, 2], "noise_std": 1.0}


def test_the_short_page_is_short_and_made_from_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run", "sweep", "evaluate"):
        page = printed(name, "--help", capsys=capsys)
        lines = page.splitlines()
        assert len(lines) <= 70
        assert max(map(len, lines)) <= 80
        assert "--dry-run" not in page
        assert "{None}" not in page
        assert page == printed(name, "-h", capsys=capsys)
        whole = printed(name, "--help-all", capsys=capsys)
        assert len(whole.splitlines()) > 1.5 * len(lines)
        assert max(map(len, whole.splitlines())) <= 80
    hours = "  --budget.hours NUMBER   Wall time of evolution, over all restarts of the run.\n"
    assert hours in printed("run", "--help", capsys=capsys)
    assert "--budget.generations N  Generations to play. (default 60)" in printed(
        "run", "cartpole", "-h", capsys=capsys
    )
    with pytest.raises(LookupError, match=r"no flag --budget.days"):
        short_page(list(flags_of(DEFAULT)), "", "gadask run", Help(usual=("--budget.days",)))


def test_the_whole_page_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed("run", "--help-all", capsys=capsys)
    assert all(f"\n  {flag.label}" in page for flag in flags_of(DEFAULT))
    assert "2⁶³ − 1" in page  # of a second sentence
    assert "2⁶³ − 1" not in printed("run", "--help", capsys=capsys)


def test_flags_of_machines_are_shown_with_their_clusters(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run", "sweep", "evaluate"):
        for cluster in (["--cluster", "slurm"], ["--cluster=allocation"]):
            page = printed(name, *cluster, "--help", capsys=capsys)
            assert all(f"  {flag}" in page for flag in ("--machine.account", "--machine.cores", "--dry-run", "--yes"))
        assert "--machine.account" not in printed(name, "--cluster", "local", "--help", capsys=capsys)


def test_switches_that_are_on_say_what_turns_them_off(capsys: pytest.CaptureFixture[str]) -> None:
    page = " ".join(printed("run", "--help", capsys=capsys).split())
    assert (
        "--no-pictures Do not draw pictures at the end: the learning curve, a film of the elite and a report." in page
    )
    assert "--no-film Do not show the elite play." in " ".join(printed("report", "--help", capsys=capsys).split())


def test_every_switch_says_what_it_does_so_that_it_can_be_denied() -> None:
    """A config file may turn any switch on; help then says `Do not …`."""
    verbs = {"Ask", "Count", "Draw", "Film", "Gather", "Give", "Let", "Play", "Print", "Resume", "Show", "Write"}
    for name in COMMANDS:
        for flag in flags_of(arguments_of(name)):
            if flag.is_switch and flag.name not in ("--yes", "--film-input", "--input"):
                about = dataclasses.replace(flag, default=False).about
                assert about.split()[0] in verbs, f"{name} {flag.name}: {about}"


def test_shipped_configs_have_pages_too(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed("run", "hard-maze", "--help-all", capsys=capsys)
    assert "--env.no-behaviour" in page
    assert load_config("hard-maze").env.behaviour


def test_a_command_without_arguments_takes_none() -> None:
    with pytest.raises(UsageError, match=r"^expected flags alone, found 'x'$"):
        read_words(["x"], [], "gadask")
