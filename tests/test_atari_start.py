"""Every game of ale-py: an episode is a function of its seed, whatever its emulator has played before."""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms

from gadask.config import EnvConfig, Scalar
from gadask.envs import make_env

gymnasium.register_envs(ale_py)

GAMES = sorted(name for name in gymnasium.registry if name.startswith("ALE/"))
N_STEPS = 100

Seen = tuple[float, bool, bytes, bytes]
"""Reward, end, memory and screen after the reset or a step."""


def atari(game: str, **kwargs: Scalar) -> Any:
    return make_env(EnvConfig(game, kwargs))


def machine(ale: Any) -> tuple[bytes, bytes]:
    return ale.getRAM().tobytes(), ale.getScreen().tobytes()


def random_actions(n_actions: int, seed: int) -> list[int]:
    return [int(action) for action in np.random.default_rng(seed).integers(0, n_actions, N_STEPS)]


def played(env: Any, seed: int) -> tuple[list[Seen], list[bytes]]:
    """Play an episode with random actions; returns what was seen, and the observations."""
    observations = [env.reset(seed).tobytes()]
    seen: list[Seen] = [(0.0, False, *machine(env._ale))]
    for action in random_actions(env.action_space.n, seed):
        observation, reward, done = env.step(action)
        observations.append(observation.tobytes())
        seen.append((reward, done, *machine(env._ale)))
        if done:
            break
    return seen, observations


def played_when_loaded(env: Any, game: str, seed: int, n_noops: int) -> list[Seen]:
    """Play the same episode on an emulator of its own that has just loaded the ROM."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", 0)
    ale.loadROM(roms.get_rom_path(gymnasium.registry[game].kwargs["game"]))
    ale.reset_game()
    for action in [ale_py.Action.NOOP] * n_noops + [ale_py.Action.FIRE] * ("FIRE" in env.action_meanings):
        ale.act(action)
        if ale.game_over():
            ale.reset_game()
    seen: list[Seen] = [(0.0, False, *machine(ale))]
    for action in random_actions(env.action_space.n, seed):
        reward = 0
        for _ in range(4):
            reward += ale.act(getattr(ale_py.Action, env.action_meanings[action]))
            if ale.game_over():
                break
        seen.append((float(reward), ale.game_over(), *machine(ale)))
        if ale.game_over():
            break
    return seen


def test_all_games_are_here() -> None:
    assert len(GAMES) == 104


@pytest.mark.parametrize("game", GAMES)
def test_all_episodes_are_those_of_the_loaded_rom(game: str) -> None:
    env = atari(game)
    first = played(env, 1)
    other = played(env, 2)
    for seed, (seen, _) in ((1, first), (2, other)):
        assert seen == played_when_loaded(env, game, seed, int(np.random.default_rng(seed).integers(1, 31)))
    assert played(env, 1) == first
    assert played(env, 1) == first


@pytest.mark.parametrize("game", GAMES)
def test_all_episodes_are_the_same_with_all_actions_and_with_sticky_ones(game: str) -> None:
    env = atari(game, full_action_space=True, noop_max=1)
    first = played(env, 1)
    played(env, 2)
    assert played(env, 1) == first
    assert first[0] == played_when_loaded(env, game, 1, n_noops=1)
    sticky = atari(game, repeat_action_probability=0.25)
    assert played(sticky, 1) == played(sticky, 1)


@pytest.mark.parametrize("game", ["Amidar", "Breakout", "Qbert"])
@pytest.mark.parametrize("with_fire", [False, True])
def test_without_no_ops_the_first_picture_is_that_of_the_loaded_rom(game: str, with_fire: bool) -> None:
    env = atari(f"ALE/{game}-v5", noop_max=0, use_fire_reset=with_fire)
    first = played(env, 1)
    (seen, *_), (observation, *_) = played(env, 2)
    assert (seen, observation) == (first[0][0], first[1][0])
    assert played(env, 1) == first


def test_a_way_that_does_not_arrive_is_left_for_a_slower_one() -> None:
    fast, slow = atari("ALE/Frostbite-v5"), atari("ALE/Qbert-v5")
    for env in (fast, slow):
        played(env, 1)
        env.reset(2)
    assert [len(env._start._ways) for env in (fast, slow)] == [3, 2]
