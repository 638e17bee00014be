"""Exported policies: what they play without gadask is what gadask plays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import onnx.reference
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

import gadask
import gadask.face.runs
from gadask.commands import export
from gadask.config import config_from_dict
from gadask.errors import PolicyError, UsageError
from gadask.face.policy import EvolvedPolicy

ROOT = Path(__file__).parents[1]


def opened(path: Path, env: str, kind: str, **policy: Any) -> gadask.Run:
    """A run whose only genome is known."""
    config = config_from_dict(
        {"env": {"id": env}, "policy": {"kind": kind, **policy}, "noise": {"size": 3_000_000}, "ga": {"parents": 3}}
    )
    state = SimpleNamespace(population=SimpleNamespace(elite=None, generation=1))
    run = gadask.Run(path, config, state)  # type: ignore[arg-type]
    run.genome = lambda which="best": (17, 4, 99)  # type: ignore[method-assign]
    return run


class Played:
    """An exported program, called with numpy arrays; it remembers, as a player would."""

    def __init__(self, path: Path, policy: EvolvedPolicy) -> None:
        """Load a file."""
        state = policy.initial_state()
        flat: list[Any] = list(torch.utils._pytree.tree_leaves(state)) if state is not None else []
        self._state = [np.asarray(leaf) for leaf in flat]
        self._tree = torch.utils._pytree.tree_structure(state) if flat else None
        if path.suffix == ".pt2":
            self._program = torch.export.load(path).module()
        else:
            self._reference = onnx.reference.ReferenceEvaluator(onnx.load(path))

    def act(self, observation: NDArray[Any], *uniform: NDArray[np.float32]) -> NDArray[Any]:
        """Return the action."""
        arrays = [observation[None], *uniform, *self._state]
        if hasattr(self, "_reference"):
            names = self._reference.input_names
            outputs = ["action", "outputs", *(f"state_{i}" for i in range(len(self._state)))]
            assert self._reference.output_names == outputs
            action, _, *after = self._reference.run(None, dict(zip(names, arrays, strict=True)))
            self._state = [np.asarray(array) for array in after]
            return np.asarray(action)
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        n_state = len(self._state)
        state = (torch.utils._pytree.tree_unflatten(tensors[-n_state:], self._tree),) if self._tree else ()
        action, _, *after = self._program(*tensors[: len(tensors) - n_state], *state)
        self._state = [leaf.detach().numpy() for leaf in torch.utils._pytree.tree_leaves(after)]
        return np.asarray(action.detach().numpy())


@pytest.mark.parametrize(
    ("env", "kind", "policy", "suffix"),
    [
        ("CartPole-v1", "mlp", {}, ".pt2"),
        ("Pendulum-v1", "mlp", {}, ".pt2"),
        ("Pendulum-v1", "mlp", {"kwargs": {"actions": "uniform:5"}}, ".pt2"),
        ("CartPole-v1", "gru", {"kwargs": {"actions": "sampled"}}, ".pt2"),
        ("CartPole-v1", "lstm", {}, ".pt2"),
        ("Pendulum-v1", "mlp", {}, ".onnx"),
        ("CartPole-v1", "gru", {"kwargs": {"actions": "sampled"}}, ".onnx"),
    ],
)
def test_a_program_plays_the_same_episode(
    env: str, kind: str, policy: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    run = opened(tmp_path, env, kind, **policy)
    inside = run.policy()
    outside = Played(run.export(tmp_path / f"policy{suffix}"), inside)
    world = gymnasium.make(env)
    observation, _ = world.reset(seed=3)
    inside.reset(seed=5)
    numbers = np.random.default_rng(5).random(64, dtype=np.float32)  # as the policy draws them: a float32 a step
    is_sampled = inside.actions.sampled
    for step in range(40):
        uniform = [np.array([numbers[step]])] if is_sampled else []
        expected = inside.act(observation)
        found = outside.act(observation, *uniform)[0]
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)
        observation, _, terminated, truncated, _ = world.step(expected)
        if terminated or truncated:
            observation, _ = world.reset()
    world.close()


@pytest.mark.parametrize(("kind", "suffix"), [("nature", ".pt2"), ("salimans2017", ".pt2"), ("salimans2017", ".onnx")])
def test_a_game_plays_outside(kind: str, suffix: str, tmp_path: Path) -> None:
    from gadask.envs import make_env

    run = opened(tmp_path, "ALE/Frostbite-v5", kind)
    inside = run.policy()
    outside = Played(run.export(tmp_path / f"policy{suffix}"), inside)
    env = make_env(run.config.env)
    observation = env.reset(1)
    for _ in range(20):
        action = inside.act(observation)
        assert outside.act(np.array(observation))[0] == action
        observation, _, _ = env.step(action)
    env.close()


def test_weights_are_read_without_gadask(tmp_path: Path) -> None:
    run = opened(tmp_path, "CartPole-v1", "mlp")
    path = run.export(tmp_path / "policy.safetensors")
    expected = run.policy().state_dict()
    with safe_open(path, "np") as file:
        assert set(file.keys()) == set(expected)
        assert all(np.array_equal(file.get_tensor(name), expected[name].numpy()) for name in expected)
        about = json.loads(file.metadata()["gadask"])
    assert about == {"env": "CartPole-v1", "policy": "mlp", "genome": "17-4-99", "run": tmp_path.name}


@pytest.mark.parametrize(
    ("last", "genome", "n_lines"), [((17, 4), "best", 2), ((17, 4, 99), "best", 1), ((17, 4), "17", 1)]
)
def test_the_command_says_where_the_best_elite_is_not_the_tested_one(
    last: tuple[int, ...],
    genome: str,
    n_lines: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = opened(tmp_path, "CartPole-v1", "mlp")
    run._state = SimpleNamespace(elite=SimpleNamespace(genome=last))  # type: ignore[assignment]
    monkeypatch.setattr(gadask.face.runs, "open_run", lambda _: run)
    file = str(tmp_path / "policy.safetensors")
    assert export.main([str(tmp_path), "--out", file, "--genome", genome]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == file
    assert len(lines) == n_lines
    assert all("--genome last" in line for line in lines[1:])


def test_what_cannot_be_exported_is_said_in_one_line(tmp_path: Path) -> None:
    run = opened(tmp_path, "CartPole-v1", "mlp")
    with pytest.raises(UsageError, match=r"expected a name that ends in \.safetensors, \.pt2, \.onnx, found \.bin"):
        run.export(tmp_path / "policy.bin")
    with pytest.raises(UsageError, match=r"policy\.pt2: expected an existing folder, found no .*missing"):
        run.export(tmp_path / "missing" / "policy.pt2")
    (tmp_path / "policy.pt2").write_text("kept")
    for kind in ("snail", "gru-per-action"):  # the state of which is more than tensors
        network = opened(tmp_path, "gadask/MetaBandit-v0", kind)
        with pytest.raises(PolicyError, match=r"cannot be written as a program: .*as \.safetensors$") as caught:
            network.export(tmp_path / "policy.pt2")
        assert "\n" not in str(caught.value)
        assert network.export(tmp_path / "policy.safetensors").exists()
    assert (tmp_path / "policy.pt2").read_text() == "kept"


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "jobs/export.py", str(tmp_path), "--out", "policy.pt2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == f"error: {tmp_path}: expected a run directory, found no config.toml in it\n"
