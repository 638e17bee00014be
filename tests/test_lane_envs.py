"""gadask's own tasks: one lane equals one of many bit for bit, Gymnasium's checks, registration, what is refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import EnvConfig, Scalar
from gadask.envs import LaneEnv, make_env, make_lane_env
from gadask.envs.bandit import MetaBandit
from gadask.envs.base import Action
from gadask.envs.baselines import BASELINES, play_baseline
from gadask.envs.cartpole_lanes import CartPoleLanes
from gadask.envs.registration import LANE_ENVS
from gadask.errors import EnvError

SMALL: dict[str, dict[str, Scalar]] = {
    "gadask/MetaBandit-v0": {"n_arms": 3, "n_pulls": 7},
    "gadask/MetaMDP-v0": {"n_states": 4, "n_actions": 3, "horizon": 3, "n_episodes": 3},
    "gadask/Harlow-v0": {"retina": 16, "n_trials": 2, "reach": 1, "patience": 8},
    "gadask/HardMaze-v0": {"n_steps": 12},
}
TASKS = pytest.mark.parametrize("task", SMALL)

Seen = tuple[bytes, float, bool]


def action_of(space: gymnasium.Space, number: int) -> Action:
    """Return one of a space's actions: of a Discrete the number itself, of a Box its bounds and what lies between."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return number
    share = np.array([number % 3, (number + 1) % 3], np.float32) / 2
    action: NDArray[np.float32] = space.low + share * (space.high - space.low)
    return action


def actions_of(space: gymnasium.Space, numbers: Sequence[int]) -> NDArray[np.generic]:
    """Return an action a lane."""
    return np.array([action_of(space, number) for number in numbers])


def n_actions_of(space: gymnasium.Space) -> int:
    """Return how many numbers `action_of` tells apart."""
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 3


def lanes_of(task: str, n_lanes: int, **kwargs: Scalar) -> LaneEnv:
    lanes = make_lane_env(EnvConfig(task, {**SMALL[task], **kwargs}), n_lanes)
    assert lanes is not None
    return lanes


def played_alone(task: str, seed: int, actions: list[int]) -> list[Seen]:
    """Play by `gymnasium.make`; return observation, reward and end of every step, the reset first."""
    env = gymnasium.make(task, **SMALL[task])
    seen = [(env.reset(seed=seed)[0].tobytes(), 0.0, False)]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action_of(env.action_space, action))
        assert not truncated
        seen.append((observation.tobytes(), float(reward), terminated))
    return seen


def test_every_task_is_tried() -> None:
    assert set(SMALL) == set(LANE_ENVS) == set(BASELINES)


@TASKS
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_an_episode_is_the_same_alone_and_beside_others(task: str, data: st.DataObject) -> None:
    """Lanes start their episodes at any step, also before the one before is over, and are given anything after it."""
    n_lanes = data.draw(st.integers(1, 4))
    seeds = st.integers(0, 2**31 - 2)
    lanes = lanes_of(task, n_lanes)
    space = lanes.action_space
    assert lanes.over.all()
    numbers_of: list[list[int]] = [[] for _ in range(n_lanes)]
    seed_of: list[int | None] = [None] * n_lanes
    seen_of: list[list[Seen]] = [[] for _ in range(n_lanes)]

    def check(lane: int) -> None:
        seed = seed_of[lane]
        if seed is not None:
            assert played_alone(task, seed, numbers_of[lane]) == seen_of[lane]

    for _ in range(data.draw(st.integers(1, 30))):
        for lane in data.draw(st.sets(st.integers(0, n_lanes - 1), max_size=1)):
            check(lane)
            seed = data.draw(seeds)
            lanes.reset(lane, seed)
            seed_of[lane], numbers_of[lane] = seed, []
            seen_of[lane] = [(lanes.observations[lane].tobytes(), 0.0, bool(lanes.over[lane]))]
        live = ~lanes.over
        numbers = [data.draw(st.integers(0, n_actions_of(space) - 1)) for _ in range(n_lanes)]
        actions = actions_of(space, numbers)
        actions[~live] = data.draw(st.sampled_from([-1, 0, 10**6]))
        lanes.step(actions)
        for lane in np.flatnonzero(live).tolist():
            numbers_of[lane].append(numbers[lane])
            seen_of[lane].append(
                (lanes.observations[lane].tobytes(), float(lanes.rewards[lane]), bool(lanes.over[lane]))
            )
        assert lanes.over[~live].all()
    for lane in range(n_lanes):
        check(lane)


@TASKS
def test_observations_lie_in_the_space(task: str) -> None:
    lanes = lanes_of(task, 50)
    rng = np.random.default_rng(0)
    for lane in range(50):
        lanes.reset(lane, lane)
    while not lanes.over.all():
        assert all(lanes.observation_space.contains(observation) for observation in lanes.observations)
        numbers = rng.integers(n_actions_of(lanes.action_space), size=50)
        lanes.step(actions_of(lanes.action_space, numbers.tolist()))
    assert all(lanes.observation_space.contains(observation) for observation in lanes.observations)


@TASKS
@pytest.mark.parametrize("kwargs", ["default", "small"])
def test_gymnasiums_checks_pass(task: str, kwargs: str) -> None:
    env = gymnasium.make(task, render_mode="rgb_array", **(SMALL[task] if kwargs == "small" else {}))
    check_env(env.unwrapped)
    env.close()


@TASKS
def test_make_env_plays_the_same_episodes(task: str) -> None:
    env = make_env(EnvConfig(task, SMALL[task]))
    lanes = lanes_of(task, 1)
    assert (env.observation_space, env.action_space) == (lanes.observation_space, lanes.action_space)
    lanes.reset(0, 5)
    np.testing.assert_array_equal(env.reset(5), lanes.observations[0])
    while not lanes.over[0]:
        observation, reward, done = env.step(action_of(env.action_space, 1))
        lanes.step(actions_of(lanes.action_space, [1]))
        np.testing.assert_array_equal(observation, lanes.observations[0])
        assert (reward, done) == (lanes.rewards[0], lanes.over[0])


@TASKS
def test_a_reset_without_a_seed_starts_another_episode(task: str) -> None:
    env = gymnasium.make(task, **SMALL[task]).unwrapped
    env.reset(seed=1)
    episodes = []
    for _ in range(2):
        env.reset()
        episodes.append([env.step(action_of(env.action_space, number))[:2] for number in (1, 1, 0)])
    env.reset(seed=1)
    env.reset()
    again = [env.step(action_of(env.action_space, number))[:2] for number in (1, 1, 0)]
    assert repr(again) == repr(episodes[0])


@TASKS
def test_a_copy_goes_on_alike(task: str) -> None:
    env: Any = gymnasium.make(task, **SMALL[task]).unwrapped
    env.reset(seed=3)
    env.step(action_of(env.action_space, 1))
    copied = copy.deepcopy(env)
    for number in (1, 0, 0, 1):
        action = action_of(env.action_space, number)
        assert repr(copied.step(action)) == repr(env.step(action))


@TASKS
def test_every_step_changes_the_picture(task: str) -> None:
    env: Any = gymnasium.make(task, render_mode="rgb_array", **SMALL[task])
    env.reset(seed=0)
    pictures = [env.render()]
    done = False
    while not done:
        _, _, done, _, _ = env.step(action_of(env.action_space, 1))
        pictures.append(env.render())
        assert pictures[-1].dtype == np.uint8
        assert pictures[-1].shape == pictures[0].shape
        assert (pictures[-1] != pictures[-2]).any()
    assert gymnasium.make(task).unwrapped.render() is None


@TASKS
def test_a_step_too_many_and_a_wrong_action_are_refused(task: str) -> None:
    env: Any = gymnasium.make(task, **SMALL[task]).unwrapped
    env.reset(seed=0)
    is_discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    wrong, expected = (
        (3, r"0 to \d") if is_discrete else (np.full(2, 3, np.float32), r"Box\(-1.0, 1.0, \(2,\), float32\)")
    )
    with pytest.raises(EnvError, match=rf"action: expected one of {expected}, found .*3"):
        env.step(wrong)
    action = action_of(env.action_space, 1)
    while not env.step(action)[2]:
        pass
    with pytest.raises(EnvError, match="call reset first"):
        env.step(action)


def test_plain_gymnasium_finds_the_tasks_by_the_modules_name() -> None:
    code = "import gymnasium; print(gymnasium.make('gadask.envs:gadask/MetaBandit-v0', n_arms=10).observation_space)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Box(0.0, 1.0, (12,), float32)\n"


def test_an_emulator_has_no_lanes() -> None:
    assert make_lane_env(EnvConfig("ALE/Frostbite-v5"), 4) is None


def test_lanes_take_the_kwargs_of_a_film() -> None:
    assert lanes_of("gadask/MetaBandit-v0", 2, render_mode="rgb_array").n_lanes == 2


@pytest.mark.parametrize(
    ("task", "kwargs", "message"),
    [
        ("MetaBandit", {"n_arms": 1}, r"env\.kwargs\.n_arms: expected a whole number from 2 to 1000, found 1"),
        ("MetaBandit", {"n_pulls": 0}, r"env\.kwargs\.n_pulls: .* found 0"),
        ("MetaBandit", {"n_pulls": True}, r"env\.kwargs\.n_pulls: .* found True"),
        ("MetaBandit", {"n_pulls": 5.0}, r"env\.kwargs\.n_pulls: .* found 5\.0"),
        ("MetaBandit", {"pulls_left": "share"}, r"env\.kwargs\.pulls_left: expected 'fraction' or 'count'"),
        ("MetaMDP", {"n_states": 1}, r"env\.kwargs\.n_states"),
        ("MetaMDP", {"n_actions": "5"}, r"env\.kwargs\.n_actions: .* found '5'"),
        ("MetaMDP", {"horizon": 0}, r"env\.kwargs\.horizon"),
        ("MetaMDP", {"n_episodes": 10_001}, r"env\.kwargs\.n_episodes: expected a whole number from 1 to 10000"),
        ("Harlow", {"retina": 12}, r"env\.kwargs\.retina: expected a whole number from 16 to 256, found 12"),
        ("Harlow", {"retina": 30}, r"env\.kwargs\.retina: expected a multiple of 4, found 30; 28 is one"),
        ("Harlow", {"n_trials": 0}, r"env\.kwargs\.n_trials"),
        ("Harlow", {"image_set": "held-out"}, r"env\.kwargs\.image_set: expected 'train' or 'test'"),
        ("Harlow", {"reach": 0}, r"env\.kwargs\.reach"),
        ("Harlow", {"hold": 0}, r"env\.kwargs\.hold"),
        ("Harlow", {"patience": 13}, r"env\.kwargs\.patience: expected a whole number from 14"),
        ("Harlow", {"fixation_reward": "much"}, r"env\.kwargs\.fixation_reward: expected a finite number"),
        ("Harlow", {"forfeit": float("inf")}, r"env\.kwargs\.forfeit: expected a finite number, found inf"),
        ("HardMaze", {"n_steps": 0}, r"env\.kwargs\.n_steps: expected a whole number from 1 to 1000000, found 0"),
        ("HardMaze", {"stack": 0}, r"env\.kwargs\.stack: expected a whole number from 1 to 100, found 0"),
        ("HardMaze", {"observation": "rays"}, r"env\.kwargs\.observation: expected 'sensors' or 'picture', found 'ra"),
        ("HardMaze", {"control": "force"}, r"env\.kwargs\.control: expected 'speed' or 'acceleration', found 'fo"),
    ],
)
def test_impossible_kwargs_are_refused_in_one_line(task: str, kwargs: dict[str, Scalar], message: str) -> None:
    config = EnvConfig(f"gadask/{task}-v0", kwargs)
    with pytest.raises(EnvError, match=message) as caught:
        make_env(config)
    assert "\n" not in str(caught.value)
    with pytest.raises(EnvError, match=message):
        make_lane_env(config, 2)


def test_other_render_modes_are_refused() -> None:
    with pytest.raises(EnvError, match=r"env\.kwargs\.render_mode: expected None or 'rgb_array', found 'human'"):
        MetaBandit(render_mode="human")


def test_unknown_kwargs_are_refused_with_the_nearest() -> None:
    with pytest.raises(EnvError, match="unknown key 'n_arm' for 'gadask/MetaBandit-v0'; did you mean 'n_arms'"):
        make_lane_env(EnvConfig("gadask/MetaBandit-v0", {"n_arm": 5}), 2)
    with pytest.raises(EnvError, match=r"unknown key 'xyz' .* it takes retina, n_trials"):
        make_lane_env(EnvConfig("gadask/Harlow-v0", {"xyz": 5}), 2)
    with pytest.raises(EnvError, match=r"TypeError: .*n_arm"):
        make_env(EnvConfig("gadask/MetaBandit-v0", {"n_arm": 5}))


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in BASELINES.items() for name in names])
def test_a_baselines_returns_follow_from_the_seeds(task: str, name: str) -> None:
    config = EnvConfig(task, SMALL[task])
    first = play_baseline(name, config, range(20))
    again = play_baseline(name, config, range(20))
    np.testing.assert_array_equal(first.returns, again.returns)
    assert first.returns.shape == (20,)
    assert (first.trials_correct is not None) == ("Harlow" in task)
    assert len(set(first.returns)) > 1


def test_baselines_play_in_batches_and_are_cut_like_others() -> None:
    whole = EnvConfig("gadask/MetaBandit-v0", {"n_pulls": 6})
    returns = play_baseline("greedy", whole, range(1100)).returns
    assert returns.shape == (1100,)
    np.testing.assert_array_equal(returns[700:], play_baseline("greedy", whole, range(700, 1100)).returns)
    cut = EnvConfig("gadask/MetaBandit-v0", {"n_pulls": 6}, max_steps=2)
    assert play_baseline("greedy", cut, range(500)).returns.max() == 2


def test_unknown_baselines_are_refused() -> None:
    with pytest.raises(EnvError, match=r"expected one of random, greedy, psrl, informed-greedy; found 'ucb1'"):
        play_baseline("ucb1", EnvConfig("gadask/MetaMDP-v0"), range(3))
    with pytest.raises(EnvError, match="expected one of none for 'CartPole-v1', only for gadask/MetaBandit-v0"):
        play_baseline("random", EnvConfig("CartPole-v1"), range(3))


@pytest.mark.parametrize("balances", [True, False])
def test_cartpole_in_lanes_is_gymnasiums_bit_for_bit(balances: bool) -> None:
    lanes, env = CartPoleLanes(5), make_env(EnvConfig("CartPole-v1"))
    seeds = range(40, 45)
    for lane, seed in enumerate(seeds):
        lanes.reset(lane, seed)
    rng = np.random.default_rng(0)
    seen: list[list[tuple[list[float], float, bool]]] = [[] for _ in seeds]
    given: list[list[int]] = [[] for _ in seeds]
    while not lanes.over.all():
        live = np.flatnonzero(~lanes.over).tolist()
        actions = (lanes.observations @ [0.1, 0.2, 3, 1] > 0).astype(np.int64) if balances else rng.integers(2, size=5)
        lanes.step(actions)
        for lane in live:
            given[lane].append(int(actions[lane]))
            seen[lane].append((lanes.observations[lane].tolist(), float(lanes.rewards[lane]), bool(lanes.over[lane])))
    assert (max(map(len, seen)) == 500) == balances
    for lane, seed in enumerate(seeds):
        env.reset(seed)
        for action, expected in zip(given[lane], seen[lane], strict=True):
            observation, reward, over = env.step(action)
            assert (observation.tolist(), reward, over) == expected
    env.close()
