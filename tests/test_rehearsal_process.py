"""Tasks are rehearsed in a process of their own, of which nothing is left and by which nothing is disturbed."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gadask.clusters.local import local_cluster
from gadask.config import Config, EnvConfig, config_from_dict
from gadask.console.leaving import stop_on_signals
from gadask.errors import ConfigError, EnvError, PolicyError
from gadask.master.evolve import evolve
from gadask.master.rehearsal_process import rehearse
from gadask.master.task import prepare_task, prepare_tasks
from gadask.record.directory import read_generations
from tests.conftest import faulty_config, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[1]
RUN = [sys.executable, str(ROOT / "jobs" / "run.py")]


def config_of(name: str, **env: object) -> Config:
    config = faulty_config(population=8)
    table = {"id": f"tests.odd_processes:odd/{name}-v0", "max_steps": 20, **env}
    return replace(config, env=config_from_dict({"env": table}).env)


def test_what_is_known_is_not_rehearsed_again(tmp_path: Path) -> None:
    notes = tmp_path / "made.txt"
    config = config_of("Noted", kwargs={"notes": str(notes)})
    tasks = [prepare_task(replace(config, seed=seed)) for seed in range(3)]
    tasks += prepare_tasks([config, replace(config, budget=replace(config.budget, generations=1))])
    made_by = set(notes.read_text().split())
    assert len(made_by) == 1
    assert str(os.getpid()) not in made_by
    assert {task.n_params for task in tasks} == {4 * 8 + 8 + 8 * 3 + 3}
    assert len({task.run_id for task in tasks}) == len(tasks)


def test_several_are_rehearsed_in_order_and_an_error_hides_none() -> None:
    configs = [config_of(name) for name in ("Printer", "NotThere", "SometimesExits", "ChangesFolder")]
    with closing(rehearse(configs)) as found:
        one, wrong, *others = found
    assert [each.n_params for each in (one, *others)] == 3 * [67]  # type: ignore[union-attr]
    assert isinstance(wrong, EnvError)
    with pytest.raises(EnvError, match="NotThere-v0"):
        prepare_tasks(configs)


def test_the_master_imports_neither_torch_nor_a_users_module() -> None:
    code = (
        "import sys, gadask.master.evolve, gadask.clusters.local, gadask.console.progress;"
        "from tests.test_rehearsal_process import config_of; from gadask.master.task import prepare_task;"
        "prepare_task(config_of('Plain'));"
        "print({'torch', 'tests.odd_processes'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_what_an_environment_prints_is_no_output_of_the_masters() -> None:
    code = (
        "from tests.test_rehearsal_process import config_of; from gadask.master.task import prepare_task;"
        "print(prepare_task(config_of('Printer')).n_params)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "67\n"
    assert done.stderr.count("raw\n") == 20


def test_the_gadask_that_was_imported_is_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gadask", "torch"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('another one')\n")
    monkeypatch.chdir(tmp_path)
    assert prepare_task(config_of("Plain", max_steps=19)).n_params == 67
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert prepare_task(config_of("Plain", max_steps=18)).n_params == 67


def _children() -> list[psutil.Process]:
    """Return the processes that rehearse: the guardian and what it forked."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def test_an_interrupt_ends_a_rehearsal_that_hangs(tmp_path: Path) -> None:
    notes = tmp_path / "made.txt"
    config = config_of("HangsWithHelper", kwargs={"notes": str(notes)})
    before = set(_children())  # those of other tests' sessions

    def interrupt() -> None:
        wait_until(notes.exists, 60, "made")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        prepare_task(config)
    thread.join()
    assert set(_children()) <= before


def test_a_rehearsal_ends_with_its_master(tmp_path: Path) -> None:
    notes = tmp_path / "made.txt"
    code = (
        "import sys; from tests.test_rehearsal_process import config_of; from gadask.master.task import prepare_task;"
        "prepare_task(config_of('HangsWithHelper', kwargs={'notes': sys.argv[1]}))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(notes)], cwd=ROOT) as master:
        wait_until(lambda: notes.exists() and notes.read_text().endswith("\n"), 60, "made")
        family = psutil.Process(master.pid).children(recursive=True)
        helpers = [process for process in family if process.name() == "sleep"]
        assert len(helpers) == 1
        master.kill()
    wait_until(lambda: not any(map(_runs, family)), 10, "all of them ended")


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("name", ["ForkedHelper", "SpawnedHelper"])
def test_a_helper_of_the_environments_own_does_not_interrupt_a_run(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = replace(config_of(name), budget=replace(faulty_config().budget, generations=2))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        request.addfinalizer(functools.partial(signal.signal, number, signal.getsignal(number)))

    async def main() -> None:
        async with stop_on_signals("nothing"), local_cluster(1) as cluster:
            async for _ in evolve(config, cluster.client, tmp_path / "run", n_processes=2, node_timeout_s=60):
                pass

    asyncio.run(main())
    assert len(list(read_generations(tmp_path / "run"))) == 2


def _run(config: str, tmp_path: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "config.toml"
    path.write_text(
        config + "[noise]\nsize = 300_000\n[generation]\npopulation = 8\ncandidates = 0\n[ga]\nparents = 2\n"
    )
    return subprocess.run(
        [*RUN, str(path), "--run-dir", str(tmp_path / "run"), "--budget.generations", "1", *flags],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip


FLAGS = ("--no-pictures", "--budget.test-episodes", "0")
OWN = """
import gymnasium, numpy as np
class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, layout=(), rooms=None):
        assert layout == [[1, 2], [3]] and rooms == {"a": {"b": [True]}}, (layout, rooms)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}
    def step(self, action):
        return np.zeros(2, np.float32), 1.0, True, False, {}
gymnasium.register("Own-v0", Own)
"""


@pytest.mark.parametrize("module", ["evaluate", "run", "film"])
def test_a_module_called_like_a_script_is_found_and_kwargs_are_nested(module: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f"{module}.py").write_text(OWN)
    config = f"""[env]
id = "{module}:Own-v0"
kwargs = {{ layout = [[1, 2], [3]], rooms = {{ a = {{ b = [true] }} }} }}
[policy]
kind = "mlp"
"""
    path = os.pathsep.join([str(tmp_path / "mine"), str(ROOT)])
    done = _run(config, tmp_path, *FLAGS, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gen 0" in " ".join(done.stdout.split())
    again = _run(config.replace("[3]", "[4]"), tmp_path, "--resume", *FLAGS, PYTHONPATH=path)
    assert again.returncode == 2
    assert _run(config, tmp_path, "--resume", *FLAGS, PYTHONPATH=path).returncode == 0


def test_a_module_in_the_current_folder_is_pointed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # or it is found
    (tmp_path / "mine.py").write_text(OWN)
    done = _run('[env]\nid = "mine:Own-v0"\n[policy]\nkind = "mlp"\n', tmp_path, *FLAGS)
    assert done.returncode == 2
    assert f"for the current folder, where it lies, PYTHONPATH={tmp_path}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ('id = "FrozenLake-v1"\nkwargs = { map_name = "9x9" }', "cannot make 'FrozenLake-v1': KeyError: '9x9' ("),
        ('id = "tests.odd_envs:MakeRaises-v0"', "RuntimeError: no display on two lines ("),
        ('id = "tests.odd_envs:MakeExits-v0"', "SystemExit: no licence ("),
        ('id = "tests.odd_envs:StepOfFour-v0"', "step: expected (observation, reward, terminated, truncated, info)"),
        ('id = "tests.odd_envs:NotANumber-v0"', "found nan at [2]"),
    ],
)
def test_a_users_error_is_one_line_and_no_directory_is_made(env: str, message: str, tmp_path: Path) -> None:
    done = _run(f'[env]\n{env}\n[policy]\nkind = "mlp"\n', tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tests.odd_policies:raises", r"cannot make a network: RuntimeError: no weights \(tests/odd_policies.py:"),
        ("tests.odd_policies:exits", r"cannot make a network: SystemExit: 3 \(tests/odd_policies.py:"),
        ("tests.odd_policies:Raises", r"does not take an observation of .*: ZeroDivisionError: .* in forward\)"),
        ("tests.odd_policies:Late", r"cannot be played: ZeroDivisionError: .*tests/odd_policies.py:\d+, in forward\)"),
        ("odd_syntax:net", r"cannot import 'odd_syntax': SyntaxError: .*odd_syntax.py:1\)"),
    ],
)
def test_a_policys_error_names_its_place(
    kind: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_syntax.py").write_text("def net(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = config_of("Plain")
    with pytest.raises((PolicyError, EnvError), match=message) as caught:
        prepare_task(replace(config, policy=replace(config.policy, kind=kind, kwargs={})))
    assert "\n" not in str(caught.value)


def test_a_limit_of_the_environments_own_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    config = replace(faulty_config(), env=EnvConfig("CartPole-v1", max_steps=700))
    for _ in range(2):
        prepare_task(config)
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "env.max_steps: 'CartPole-v1' itself ends an episode after 500 steps, before the 700 of the config"
    ]
    caplog.clear()
    prepare_task(replace(config, env=EnvConfig("CartPole-v1", {"max_episode_steps": 700}, max_steps=700)))
    prepare_task(replace(config, env=EnvConfig("CartPole-v1")))
    assert not caplog.records


def test_a_deadline_of_the_past_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"env\.rehearsal_timeout_s: expected more than 0"):
        prepare_task(config_of("Plain", rehearsal_timeout_s=0.0))
