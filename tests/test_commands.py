"""`gadask COMMAND`: it calls what the scripts call, helps who mistypes, and names itself in what to do next."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from gadask import __main__ as commands
from gadask.analysis.runs import find_runs, load_run
from gadask.clusters.machine import load_machine
from gadask.config import load_config
from gadask.console.completion import completion_script
from gadask.console.invocation import invocation
from gadask.errors import ConfigError, RunDirectoryError
from gadask.record.directory import RunDirectory, read_run
from gadask.shipped import ALLOCATION, CONFIGS
from gadask.sweeps.study import load_study

ROOT = Path(__file__).parents[1]


def called(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gadask", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_a_script_and_a_summary(name: str) -> None:
    module, summary = commands.COMMANDS[name]
    assert callable(import_module(module).main)
    assert summary.endswith(".")
    folder = "jobs" if module.startswith("gadask.commands.") else "analysis"
    script = ROOT / folder / f"{module.rpartition('.')[2]}.py"
    assert f'run_script("{name}")' in script.read_text()


def test_the_help_fits_a_terminal(tmp_path: Path) -> None:
    answer = called("--help", cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert len(lines) <= 40
    assert max(len(line) for line in lines if not line.startswith("  /")) <= 80
    assert called(cwd=tmp_path).stdout == answer.stdout
    assert called("--version", cwd=tmp_path).stdout.startswith("gadask ")


def test_a_mistyped_command_is_one_line(tmp_path: Path) -> None:
    answer = called("rum", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "error: no command 'rum'; did you mean 'run'?\n"
    assert called("zzz", cwd=tmp_path).stderr.startswith("error: no command 'zzz'; expected one of run, sweep, ")


def test_configs_that_come_with_gadask_are_called_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("cartpole") == load_config(CONFIGS / "cartpole.toml")
    assert len(load_study("studies/smoke")) > 1
    with pytest.raises(ConfigError, match=r"^cartpol: cannot read the config file: .*; did you mean 'cartpole'\?$"):
        load_config("cartpol")
    Path("here").mkdir()
    Path("here/cartpole.toml").write_text('[env]\nid = "Acrobot-v1"\n')
    assert load_config("here/cartpole.toml").env.id == "Acrobot-v1"
    Path("cartpole.toml").write_text('[env]\nid = "Acrobot-v1"\n')
    assert load_config("cartpole.toml").env.id == "Acrobot-v1"  # a file that is there goes first
    assert load_config("cartpole").env.id == "CartPole-v1"
    with pytest.raises(ConfigError, match=r"^here/cartpol.toml: .*; did you mean 'here/cartpole.toml'\?$"):
        load_config("here/cartpol.toml")


@pytest.mark.parametrize(
    ("argv", "program", "name"),
    [
        (["/opt/bin/gadask", "run", "a.toml"], ("/opt/bin/gadask", "run"), "/opt/bin/gadask run"),
        (["/x/gadask/__main__.py", "run", "a.toml"], (sys.executable, "-m", "gadask", "run"), "python -m gadask run"),
        (["jobs/run.py", "a.toml"], (sys.executable, "jobs/run.py"), "python jobs/run.py"),
    ],
)
def test_a_command_knows_how_it_was_called(
    argv: list[str], program: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = invocation(argv)
    assert (found.program, found.command, found.arguments, found.name) == (program, "run", ("a.toml",), name)


def test_a_command_that_the_shell_finds_is_shown_without_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gadask"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert invocation([str(program), "report", "run"]).program == ("gadask", "report")


@pytest.fixture(scope="module")
def completion() -> str:
    return completion_script("bash", commands.COMMANDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ru",), ["run"]),
        (("run", "hum"), ["humanoid"]),
        (("run", "cartpole", "--budget.h"), ["--budget.hours"]),
        (("sweep", "studies/smo"), ["studies/smoke"]),
        (("report", "runs", "--no"), ["--no-film"]),
        (("run", "x", "--generation.closing", "f"), ["first"]),
        (("run", "x", "--run-dir", "cartp"), []),  # a file
    ],
)
def test_a_shell_completes(words: tuple[str, ...], expected: list[str], completion: str) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    script = f'{completion}\nCOMP_WORDS=(gadask "$@"); COMP_CWORD=$#\n_gadask; printf \'%s\\n\' "${{COMPREPLY[@]}}"'
    answer = subprocess.run(["bash", "-c", script, "_", *words], capture_output=True, text=True, check=True)
    assert (answer.stdout.split(), answer.stderr) == (expected, "")


def test_completion_is_for_shells_that_are_known(tmp_path: Path) -> None:
    assert "bashcompinit" in completion_script("zsh", {})
    answer = called("--print-completion", "fish", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "error: --print-completion: expected bash or zsh, found 'fish'\n"
    assert called("--print-completion", "bash", cwd=tmp_path).stdout.endswith("complete -o default -F _gadask gadask\n")


def test_misspelt_files_and_folders_get_the_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean 'studies/smoke'\?$"):
        load_study("studies/smok")
    Path("mine.toml").write_text('base = "cartpol"\n[grid]\nseed = [0]\n')
    with pytest.raises(ConfigError, match=r"^mine.toml: cartpol: .*; did you mean 'cartpole'\?$"):
        load_study("mine.toml")
    Path("mine.toml").write_text('base = "cartpole"\n[grid]\nseed = [0]\n')
    assert load_study("mine.toml")[0].config.env.id == "CartPole-v1"
    Path("cartpole").write_text('[env]\nid = "Acrobot-v1"\n')
    assert load_study("mine.toml")[0].config.env.id == "Acrobot-v1"  # what lies beside the study goes first
    with pytest.raises(ConfigError, match=r"did you mean 'csd3-icelake'\?$"):
        load_machine("./csd3-icelak.toml")
    Path("site.toml").write_text('base = "csd3-icelak"\n')
    with pytest.raises(ConfigError, match=r"did you mean 'csd3-icelake'\?$"):
        load_machine("site.toml")
    Path("runs/cartpole").mkdir(parents=True)
    for read in (read_run, load_run, lambda path: find_runs([path]), RunDirectory.resume):
        resume = (load_config("cartpole"),) if read is RunDirectory.resume else ()
        with pytest.raises(RunDirectoryError, match=r"did you mean '(/.*/)?runs/cartpole'\?$"):
            read("runs/cartpol", *resume)
        with pytest.raises(RunDirectoryError) as caught:
            read("runs/cartpole", *resume)
        assert "did you mean" not in str(caught.value)  # it is there
        with pytest.raises(RunDirectoryError) as caught:
            read(str(tmp_path / "runs" / "zebra"), *resume)
        assert "did you mean" not in str(caught.value)  # most of both paths is the same, and none of the names


def test_the_script_for_sbatch_comes_with_the_package() -> None:
    assert (ROOT / "jobs" / "allocation.sbatch").samefile(ALLOCATION)
    assert "-m gadask" in ALLOCATION.read_text()
