"""What `import gadask` offers, used as a script and as a notebook use it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import gadask
from gadask.clusters.base import NodeCounts
from gadask.config import config_from_dict
from gadask.errors import ConfigError, RunDirectoryError, UsageError
from gadask.face import watching
from gadask.face.clusters import Opening
from gadask.master.task import prepare_task
from gadask.messages import Kind
from tests.conftest import faulty_config

CONFIG = config_from_dict(
    {
        "env": {"id": "CartPole-v1", "max_steps": 200},
        "policy": {"kind": "mlp", "kwargs": {"hidden": "8"}, "normalise": True},
        "noise": {"size": 300_000},
        "generation": {"population": 16, "candidates": 3, "candidate_episodes": 3},
        "ga": {"parents": 4},
        "budget": {"generations": 3, "test_episodes": 0},
    }
)


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run evolved as a script does it, and its generations."""
    run_dir = tmp_path_factory.mktemp("face") / "run"
    with gadask.cluster("local") as cluster:
        generations = list(gadask.evolve_blocking(CONFIG, cluster, run_dir))
        assert cluster.dashboard.startswith("http://127.0.0.1")
        assert cluster.counts().running == 1
        test = gadask.evaluate_blocking(run_dir, cluster, 6)
        elite = generations[-1].elite
        assert elite is not None
        assert (test.n_episodes, test.generation) == (6, elite.generation)
    return run_dir, generations


def test_the_best_policy_plays_outside_what_was_recorded(evolved: tuple[Path, list[Any]]) -> None:
    run = gadask.open_run(evolved[0])
    elite = run.elite
    assert elite is not None
    assert (run.generation, run.config) == (2, CONFIG)
    before = np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state().tolist()
    policy = run.policy("last")
    assert (np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state().tolist()) == before
    assert isinstance(policy, nn.Module)
    candidates = evolved[1][elite.generation].line["candidates"]
    slot = [candidate["genome"] for candidate in candidates].index("-".join(map(str, elite.genome)))
    rows = run.episodes(elite.generation).query(f"kind == 'evaluation' and slot == {slot}")
    task = prepare_task(CONFIG)
    env = gymnasium.make("CartPole-v1")
    for row in rows.to_dict("records"):
        seed = task.env_seed(Kind.EVALUATION, elite.generation, slot, row["episode"])
        assert play(env, policy, seed, by_forward=True) == play(env, policy, seed, by_forward=False) == row["return"]
    env.close()


def play(env: gymnasium.Env, policy: Any, seed: int, *, by_forward: bool) -> float:
    """Return an episode's return, played with Gymnasium alone."""
    observation, _ = env.reset(seed=seed)
    policy.reset()
    return_ = 0.0
    for _ in range(CONFIG.env.max_steps):
        with torch.inference_mode():
            outputs = policy(torch.from_numpy(observation)[None])
        action = int(outputs.argmax()) if by_forward else policy.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        return_ += float(reward)
        if terminated or truncated:
            break
    return return_


def test_a_policy_is_saved_and_loaded_as_any_module(evolved: tuple[Path, list[Any]], tmp_path: Path) -> None:
    run = gadask.open_run(evolved[0])
    best, last = run.policy("best"), run.policy("last")
    torch.save(best.state_dict(), tmp_path / "best.pt")
    last.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    observations = torch.randn(1, 4)
    assert torch.equal(last(observations), best(observations))
    seen = np.array([0.1, 2, 0.3, 4], np.float32)
    assert last.act(seen) == best.act(seen)
    best.mean += 1000  # what `act` subtracts as well
    shown = seen + np.float32(1000)
    assert np.array_equal(best._policy.output(shown), best(torch.from_numpy(shown)[None]).numpy())
    assert set(best.network.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("env", "kind"), [("CartPole-v1", "gru"), ("gadask/MetaBandit-v0", "lstm"), ("Pendulum-v1", "mlp")]
)
def test_forward_says_what_act_does(env: str, kind: str, tmp_path: Path) -> None:
    """With memory, with an array as an action."""
    config = config_from_dict({"env": {"id": env}, "policy": {"kind": kind}, "noise": {"size": 1_000_000}})
    state = SimpleNamespace(population=SimpleNamespace(elite=None, generation=1))
    run = gadask.Run(tmp_path, config, state)  # type: ignore[arg-type]
    run.genome = lambda which="best": (17, 4)  # type: ignore[method-assign]
    policy = run.policy()
    random = np.random.default_rng(0)
    policy.reset()
    memory = policy.initial_state()
    for _ in range(5):
        observation = random.normal(size=policy.observation_space.shape).astype(policy.observation_space.dtype)
        with torch.inference_mode():
            found = policy(torch.from_numpy(observation)[None], memory)
        outputs, memory = found if memory is not None else (found, None)
        expected = policy._policy.actions.choose(outputs.numpy().reshape(1, -1))[0]
        assert np.array_equal(policy.act(observation), expected)


def test_a_notebook_shows_what_a_cell_ends_with(evolved: tuple[Path, list[Any]]) -> None:
    run = gadask.open_run(evolved[0])
    assert "<svg" in run._repr_html_()
    for shown in (run, run.elite, run.config, evolved[1][-1]):
        assert shown is not None
        text = shown._repr_html_()
        assert text.startswith("<table>")
        assert text.count("<table>") == text.count("</table>") == 1
    assert "CartPole-v1" in run.config._repr_html_()
    assert "noise.seed" not in run.config._repr_html_()
    assert repr(evolved[1][-1]).startswith("<generation 2: ")
    for shown in (run, evolved[1][-1], gadask.cluster()):
        assert len(repr(shown)) < 300
        assert "\n" not in repr(shown)
    test = run.test
    assert test is not None
    assert "6 fresh episodes" in test._repr_html_()
    assert "<b>" not in replace(test, error="<b>")._repr_html_()
    hostile = replace(CONFIG, env=replace(CONFIG.env, id="<b>"))
    assert "<b>" not in hostile._repr_html_()
    assert len(run.generations()) == 3
    assert set(run.episodes()["recorded_in"]) == {0, 1, 2}


def test_a_cluster_is_opened_for_a_block_or_until_it_is_closed(evolved: tuple[Path, list[Any]], tmp_path: Path) -> None:
    async def evolve() -> list[list[Any]]:
        found = []
        async with gadask.cluster() as cluster:
            found.append([generation async for generation in gadask.evolve(CONFIG, cluster, tmp_path / "block")])
        held = await gadask.cluster("local", 1)
        try:
            generations = gadask.evolve(CONFIG, held.client, tmp_path / "held", n_processes=1)
            found.append([generation async for generation in generations])
        finally:
            await held.close()
        return found

    for generations in asyncio.run(evolve()):
        assert [generation.elite for generation in generations] == [generation.elite for generation in evolved[1]]


def test_a_run_is_charged_from_its_own_start_on_a_cluster_that_was_open(monkeypatch: pytest.MonkeyPatch) -> None:
    charged = 40.0  # core-hours, of an earlier run and of waiting
    told: dict[str, Any] = {}
    cluster = SimpleNamespace(
        client=SimpleNamespace(asynchronous=True),
        n_processes=1,
        node_timeout_s=60,
        counts=lambda: NodeCounts(wanted=1, running=1, core_hours=charged),
    )
    monkeypatch.setattr("gadask.master.evolve.evolve", lambda *_, **options: told.update(options))
    gadask.evolve(CONFIG, cluster, "run")
    charged = 41.5
    assert told["core_hours"]() == 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "slrum"},
            "cluster: expected local, slurm, sge, pbs, lsf, allocation, or the address of a",
        ),
        ({"nodes": 0}, "nodes: expected at least 1, found 0"),
        (
            {"name": "tls://host:1", "nodes": 2},
            "nodes: expected with local, slurm, sge, pbs or lsf, found with tls:",
        ),
        ({"start_timeout_s": 0}, "start_timeout_s: expected more than 0, found 0"),
        ({"machine": "csd3-icelake"}, "machine: expected with slurm, sge, pbs, lsf or allocation, found with local"),
        ({"name": "slurm", "run_dir": "runs/mine"}, "machine: expected with slurm, found none"),
        ({"name": "slurm", "machine": "csd3-icelake"}, "run_dir: expected with slurm, found none"),
    ],
)
def test_a_cluster_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gadask.cluster(**arguments)
    assert str(caught.value).startswith(message)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="expected a run directory"):
        gadask.open_run(tmp_path)


def test_a_cluster_that_does_not_open_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(gadask.GadaskError), gadask.cluster("tcp://127.0.0.1:9"):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "gadask-cluster"]
    assert threading.active_count() <= before + 1  # Dask's own loop stays


def test_an_interrupt_while_a_cluster_opens_closes_it() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        steps.append("opening")
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            await asyncio.sleep(1000)
            yield None
        finally:
            await asyncio.sleep(0.2)  # as jobs are cancelled
            steps.append("closed")

    with pytest.raises(KeyboardInterrupt), Opening(opening(), 60):
        steps.append("open")
    assert steps == ["opening", "closed"]
    assert not [thread for thread in threading.enumerate() if thread.name == "gadask-cluster"]


def test_the_wrong_kind_of_cluster_is_refused_before_a_run_is_made(tmp_path: Path) -> None:
    blocking, asynchronous = (SimpleNamespace(client=SimpleNamespace(asynchronous=kind)) for kind in (False, True))
    with pytest.raises(UsageError, match=r"expected an asynchronous cluster.*evolve_blocking"):
        gadask.evolve(CONFIG, blocking, tmp_path / "run")
    with pytest.raises(UsageError, match=r"expected a blocking cluster or client; use gadask\.evolve for"):
        gadask.evolve_blocking(CONFIG, asynchronous, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_policy_played_here_has_the_returns_of_gymnasium_alone(evolved: tuple[Path, list[Any]]) -> None:
    run = gadask.open_run(evolved[0])
    before = torch.get_rng_state().tolist()
    played = run.play(3, seed=11)
    assert torch.get_rng_state().tolist() == before
    policy, env = run.policy(), gymnasium.make("CartPole-v1")
    assert played["return"].tolist() == [play(env, policy, seed, by_forward=False) for seed in (11, 12, 13)]
    env.close()


def test_a_sweep_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster: Any = SimpleNamespace()
    for arguments, message in (
        ({"study": CONFIG}, "grid: expected with a config, .* found a config alone"),
        ({"study": "studies/smoke", "grid": {"seed": [0]}}, "grid: expected .* found a grid with a file"),
        ({"study": CONFIG, "grid": {"seed": [0]}, "max_parallel": 0}, "max_parallel: expected at least 1, found 0"),
        ({"study": CONFIG, "grid": {"sed": [0]}}, "unknown key 'sed'"),
    ):
        with pytest.raises(UsageError, match=message):
            asyncio.run(gadask.sweep(cluster=cluster, study_dir=tmp_path / "study", **arguments))
    assert not (tmp_path / "study").exists()
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"gadask\.watch: expected IPython"):
        asyncio.run(gadask.watch(CONFIG, cluster, tmp_path / "run"))


@pytest.mark.parametrize("name", ["watch", "sweep"])
def test_what_a_cell_shows_with_is_imported_beside_the_event_loop(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes seconds, in which a scheduler in the kernel's loop would not answer its nodes."""
    threads = []

    def record(module: str) -> None:
        threads.append(threading.current_thread())
        raise ConfigError(module)

    monkeypatch.setattr(watching, "import_module", record)
    cluster: Any = SimpleNamespace()
    with pytest.raises(ConfigError, match=r"gadask\.analysis\.live"):
        asyncio.run(getattr(gadask, name)(CONFIG, cluster, tmp_path / "run"))
    assert threads != [threading.main_thread()]


def test_an_interrupt_is_one_line_in_place_of_a_traceback() -> None:
    assert gadask.Interrupted("run this cell again")._render_traceback_() == ["run this cell again"]
    assert not issubclass(gadask.Interrupted, KeyboardInterrupt), "it would end the kernel's event loop"


def test_a_test_of_no_episodes_is_refused(evolved: tuple[Path, list[Any]]) -> None:
    cluster = SimpleNamespace(client=SimpleNamespace(asynchronous=True), n_processes=1, node_timeout_s=60.0)
    before = (evolved[0] / "elite_test.json").read_bytes()
    with pytest.raises(UsageError, match="n_episodes: expected at least 1, found 0"):
        asyncio.run(gadask.evaluate(evolved[0], cluster, 0))
    assert (evolved[0] / "elite_test.json").read_bytes() == before


def test_the_face_is_light_and_documented() -> None:
    code = "import sys, gadask; print(sorted({'torch', 'numpy', 'dask', 'pandas'} & sys.modules.keys()), dir(gadask))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("[] ")
    for name in gadask.__all__:
        assert repr(name) in found
        assert getattr(gadask, name).__doc__
    assert gadask.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'evolv'"):
        gadask.evolv  # noqa: B018
    assert gadask.load_config is not None
    assert faulty_config()._repr_html_()
