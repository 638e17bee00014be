"""Environments: Atari frame by frame against other implementations, seeding, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import EnvConfig, Scalar
from gadask.envs import Env, make_env
from gadask.envs.resize import AreaResize
from gadask.errors import EnvError

GAMES = (
    *("Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "Enduro", "Frostbite", "Gravitar", "Kangaroo"),
    *("Seaquest", "Skiing", "Venture", "Zaxxon"),  # the 13 of Such et al. 2017
    *("Breakout", "MontezumaRevenge", "AirRaid", "Carnival"),  # FIRE starts it; two words; 250 and 214 rows
)


def atari(game: str, **kwargs: Scalar) -> Env:
    return make_env(EnvConfig(f"ALE/{game}-v5", kwargs))


def plain(game: str, **kwargs: Scalar) -> Env:
    return atari(game, noop_max=0, use_fire_reset=False, **kwargs)


def random_actions(env: Env, n_steps: int, seed: int = 0) -> list[int]:
    return [int(action) for action in np.random.default_rng(seed).integers(0, env.action_space.n, n_steps)]


def played(env: Env, seed: int, actions: list[int]) -> list[tuple[bytes, float, bool]]:
    """Play until the actions or the episode end; return all that was seen."""
    seen = [(env.reset(seed).tobytes(), 0.0, False)]
    for action in actions:
        observation, reward, done = env.step(action)
        seen.append((observation.tobytes(), reward, done))
        if done:
            break
    return seen


def assert_same_picture(found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    """Compare up to the rounding of OpenCV's weights: rarely, a mean half way between two values differs by 1."""
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("game", ["Frostbite", "Breakout", "BeamRider"])
def test_frames_equal_gymnasiums_preprocessing(game: str) -> None:
    gymnasium.register_envs(ale_py)
    single = gymnasium.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0)
    theirs = FrameStackObservation(AtariPreprocessing(single, noop_max=0, frame_skip=4), 4, padding_type="zero")
    ours = plain(game)
    assert ours.action_space.n == theirs.action_space.n
    assert ours.observation_space == theirs.observation_space
    assert_same_picture(ours.reset(0), theirs.reset(seed=0)[0])
    actions = [1, 1, *random_actions(ours, 400)]  # FIRE starts Breakout
    score = 0.0
    for action in actions:
        observation, reward, done = ours.step(action)
        expected, expected_reward, terminated, truncated, _ = theirs.step(action)
        assert (reward, done) == (expected_reward, terminated or truncated)
        score += reward
        if done:  # a step that the end cut short has no last two frames, and nobody sees its picture
            break
        assert_same_picture(observation, expected)
    assert score > 0
    theirs.close()
    ours.close()


def test_frames_equal_the_native_vector_environments() -> None:
    theirs = AtariVectorEnv(
        "kangaroo", 1, num_threads=1, noop_max=0, use_fire_reset=False, reward_clipping=False, maxpool=True
    )
    ours = plain("Kangaroo")
    assert_same_picture(ours.reset(5), theirs.reset(seed=5)[0][0])
    for action in random_actions(ours, 300):
        observation, reward, done = ours.step(action)
        expected, expected_reward, terminated, *_ = theirs.step(np.array([action]))
        assert (reward, done) == (expected_reward[0], terminated[0])
        if done:
            break
        assert_same_picture(observation, expected[0])
    theirs.close()


def test_life_loss_does_not_end_the_episode_but_the_last_one_does() -> None:
    env: Any = plain("Breakout")
    env.reset(0)
    lives = []
    done = False
    while not done:
        *_, done = env.step(1)
        lives.append(env._ale.lives())
    assert set(lives) == {5, 4, 3, 2, 1, 0}
    assert lives[-2] > 0
    strict: Any = plain("Breakout", episodic_life=True)
    strict.reset(0)
    n_steps = next(count for count in range(1, 1000) if strict.step(1)[2])
    assert n_steps == next(count for count, left in enumerate(lives, 1) if left < 5)


@pytest.mark.parametrize("game", ["Frostbite", "Breakout"])
def test_the_seed_alone_determines_an_episode(game: str) -> None:
    env = atari(game)
    actions = random_actions(env, 300)
    first = played(env, 7, actions)
    assert len(first) > 30
    fresh = atari(game)
    assert played(fresh, 7, actions) == first
    env.reset(8)  # a reset without a step
    assert played(env, 7, actions) == first
    played(env, 9, actions[:20])  # an unfinished episode
    assert played(env, 7, actions) == first
    env.reset(3)
    assert any(env.step(action)[2] for action in random_actions(env, 5000))
    env.step(0)  # a step too many
    assert played(env, 7, actions) == first
    assert played(env, 8, actions) != first


def test_the_behaviour_is_the_ram() -> None:
    env, reference = (
        atari("Frostbite", noop_max=0, use_fire_reset=False),
        gymnasium.make("ALE/Frostbite-v5", obs_type="ram", frameskip=4, repeat_action_probability=0.0),
    )
    reference.reset(seed=0)
    actions = random_actions(env, 50)
    played(env, 0, actions)
    for action in actions:
        ram, *_ = reference.step(action)
    behaviour = env.behaviour()
    assert behaviour is not None
    assert behaviour.dtype == np.float32
    np.testing.assert_array_equal(behaviour, ram)
    assert len(set(ram.tolist())) > 10


def test_sticky_actions_follow_the_seed_too() -> None:
    env = atari("Breakout", repeat_action_probability=0.25, noop_max=0)
    actions = random_actions(env, 100)
    assert played(env, 1, actions) == played(env, 1, actions)
    assert len({tuple(played(env, seed, actions)) for seed in range(4)}) == 4


def test_episodes_start_with_1_to_30_no_ops_and_then_fire() -> None:
    with_fire: Any = atari("Breakout")
    without: Any = atari("Breakout", use_fire_reset=False)
    no_fire_button: Any = atari("Freeway")
    counts = []
    for seed in range(250):
        without.reset(seed)
        counts.append(without._ale.getEpisodeFrameNumber())
        if seed < 10:
            with_fire.reset(seed)
            assert with_fire._ale.getEpisodeFrameNumber() == counts[-1] + 1
            no_fire_button.reset(seed)
            assert no_fire_button._ale.getEpisodeFrameNumber() == counts[-1]
    assert set(counts) == set(range(1, 31))
    with_fire.reset(0)
    assert any(with_fire.step(0)[0][-1, 40:].max() and with_fire._ale.lives() < 5 for _ in range(200))  # the ball flew


@pytest.mark.parametrize("game", GAMES)
def test_games_can_be_played(game: str) -> None:
    env = atari(game)
    observation = env.reset(1)
    assert not observation[:-1].any()
    assert observation[-1].any()
    for action in range(env.action_space.n):
        observation, reward, done = env.step(action)
        assert isinstance(reward, float)
        assert done is False
    assert env.observation_space.contains(observation)
    assert env.frames_per_step == 4
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (160, 3)
    assert picture.std() > 0
    env.close()


def test_kwargs_change_the_preprocessing() -> None:
    env = plain("Breakout", frameskip=1, stack_num=2, full_action_space=True, reward_clipping=True, maxpool=False)
    assert env.action_space.n == 18
    assert env.frames_per_step == 1
    assert env.reset(0).shape == (2, 84, 84)
    before = env.step(1)[0][-1].copy()
    assert np.array_equal(env.step(3)[0][0], before)
    clipped, whole = plain("Asteroids", reward_clipping=True), plain("Asteroids")
    actions = random_actions(whole, 100)
    rewards = [reward for _, reward, _ in played(whole, 0, actions)]
    assert max(rewards) > 1
    assert [reward for _, reward, _ in played(clipped, 0, actions)] == np.clip(rewards, -1, 1).tolist()


@settings(max_examples=15, deadline=None)
@given(
    height=st.sampled_from([84, 105, 210, 214, 250]),
    width=st.sampled_from([84, 160, 177]),
    seed=st.integers(0, 2**32 - 1),
)
def test_resize_is_the_mean_over_the_area_under_a_pixel(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    found = np.empty((84, 84), np.uint8)
    AreaResize((height, width), (84, 84))(picture, found)
    # 84 × 84 copies of each pixel, so that a pixel of the result covers whole copies
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = picture.cumsum(0, dtype=float).cumsum(1)

    def integral(edges_y: NDArray[np.float64], edges_x: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.stack([np.interp(edges_y, np.arange(height + 1), column) for column in sums.T], 1)
        return np.stack([np.interp(edges_x, np.arange(width + 1), row) for row in rows])

    edges = integral(np.linspace(0, height, 85), np.linspace(0, width, 85))
    mean = np.diff(np.diff(edges, axis=0), axis=1) / (height * width / 84**2)
    assert np.abs(found - mean).max() <= 0.5 + 1e-6
    if (height, width) == (84, 84):
        np.testing.assert_array_equal(found, picture)


def test_missing_ale_py_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(EnvError, match=r"needs ale-py.*gadask\[atari\]"):
        atari("Frostbite")


def test_missing_rom_is_an_env_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ale_py.roms.get_rom_path", lambda game: None)
    with pytest.raises(EnvError, match="no ROM for 'frostbite'"):
        atari("Frostbite")


def test_importing_needs_neither_torch_nor_ale_py() -> None:
    code = (
        "import sys; from gadask.config import EnvConfig; from gadask.envs import make_env; "
        "make_env(EnvConfig('CartPole-v1')); print({'torch', 'ale_py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
