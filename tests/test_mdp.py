"""The random MDP: its laws, what a policy sees, and its baselines against published means."""

from __future__ import annotations

import numpy as np
import pytest

from gadask.config import EnvConfig
from gadask.envs.baselines import play_baseline
from gadask.envs.baselines.mdp import PSRL, Greedy
from gadask.envs.mdp import MDPLanes, MetaMDP


def started(n_lanes: int, **kwargs: int) -> MDPLanes:
    lanes = MDPLanes(n_lanes, **kwargs)
    for lane in range(n_lanes):
        lanes.reset(lane, lane)
    return lanes


def test_mdps_are_drawn_from_their_distribution() -> None:
    lanes = started(500)
    assert lanes.means.mean() == pytest.approx(1, abs=0.03)
    assert lanes.means.std() == pytest.approx(1, abs=0.03)
    chances = np.diff(lanes.transitions, axis=-1, prepend=0)
    assert (chances >= 0).all()
    assert (lanes.transitions[..., -1] == 1).all()
    # Of a flat Dirichlet with 10 parts, each is Beta(1, 9).
    assert chances.mean(axis=(0, 1, 2)) == pytest.approx(np.full(10, 0.1), abs=0.005)
    assert (chances > 0.2).mean() == pytest.approx(0.8**9, abs=0.003)
    assert chances.var() == pytest.approx(0.1 * 0.9 / 11, rel=0.03)


def test_steps_follow_the_mdp() -> None:
    """One long round: states and rewards, tried often, come out as the tables say."""
    lanes = started(1, n_states=3, n_actions=2, horizon=30_000, n_episodes=1)
    actions = np.random.default_rng(0).integers(2, size=30_000)
    state, arrivals, rewards = 0, np.zeros((3, 2, 3)), np.zeros((3, 2))
    noise = []
    for action in actions:
        lanes.step(np.array([action]))
        noise.append(lanes.rewards[0] - lanes.means[0, state, action])
        rewards[state, action] += lanes.rewards[0]
        after = 0 if lanes.over[0] else int(lanes.observations[0, :3].argmax())
        arrivals[state, action, after] += 1
        state = after
    tried = arrivals.sum(axis=-1)
    assert tried.min() > 500
    assert np.abs(arrivals / tried[..., None] - np.diff(lanes.transitions[0], axis=-1, prepend=0)).max() < 0.05
    assert np.abs(rewards / tried - lanes.means[0]).max() < 4 / np.sqrt(tried.min())
    assert np.std(noise) == pytest.approx(1, abs=0.02)
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0, abs=0.03)


def test_a_policy_sees_state_action_reward_and_the_start_of_rounds() -> None:
    env = MetaMDP(n_states=4, n_actions=3, horizon=2, n_episodes=3)
    observation, _ = env.reset(seed=2)
    np.testing.assert_array_equal(observation, [1, 0, 0, 0, 0, 0, 0, 0, 1])
    for step, action in enumerate((0, 2, 1, 1, 0, 2), 1):
        observation, reward, terminated, _, _ = env.step(action)
        starts = step % 2 == 0
        assert observation[:4].sum() == 1
        if starts:
            assert observation[0] == 1
        np.testing.assert_array_equal(observation[4:7], np.eye(3)[action])
        assert observation[7] == np.float32(reward)
        assert observation[8] == starts
        assert terminated == (step == 6)


def test_every_round_is_of_the_same_mdp() -> None:
    """Action 0 in state 0 at the start of each of 2,000 rounds: its rewards are all about one mean."""
    lanes = started(20, horizon=1, n_episodes=2000)
    total = np.zeros(20)
    for _ in range(2000):
        lanes.step(np.zeros(20, np.int64))
        total += lanes.rewards
    assert lanes.over.all()
    assert np.abs(total / 2000 - lanes.means[:, 0, 0]).max() < 4 / np.sqrt(2000)


@pytest.mark.parametrize(("name", "published"), [("random", 100.1), ("psrl", 138.1), ("greedy", 134.8)])
def test_baselines_reach_the_published_means(name: str, published: float) -> None:
    """The means of RL² with 10 rounds, of 1,000 episodes each; 4 standard errors of both are allowed."""
    returns = play_baseline(name, EnvConfig("gadask/MetaMDP-v0"), range(1000)).returns
    error = returns.std() * np.sqrt(2 / 1000)
    assert returns.mean() == pytest.approx(published, abs=4 * error)


def test_planners_count_what_they_see() -> None:
    """The last step of a round shows no next state of its action: the next round starts instead."""
    lanes = started(1, n_states=3, n_actions=2, horizon=4, n_episodes=50)
    planner = Greedy(lanes, np.random.default_rng(0))
    arrivals, rewards = np.zeros((3, 2, 3)), np.zeros((3, 2))
    for step in range(200):
        state = lanes.observations[0, :3].argmax()
        action = [planner.act()[0], step % 2][step % 3 == 0]  # what it would not do too
        lanes.step(np.array([action]))
        rewards[state, action] += lanes.rewards[0]
        if step % 4 < 3:
            arrivals[state, action, lanes.observations[0, :3].argmax()] += 1
    planner.act()
    np.testing.assert_allclose(planner._arrivals[0] - 1e-4, arrivals, atol=1e-9)
    tried = planner._weights[0] - 1e-4
    assert tried.sum() == pytest.approx(200)
    np.testing.assert_allclose(planner._rewards[0] * (tried + 1e-4), rewards, atol=1e-4)


def test_posterior_sampling_draws_from_what_is_believed() -> None:
    lanes = started(1000)
    rewards, transitions = PSRL(lanes, np.random.default_rng(0))._imagined()
    assert (rewards.mean(), rewards.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    np.testing.assert_allclose(transitions.sum(axis=-1), 1)
    assert transitions.var() == pytest.approx(0.1 * 0.9 / 11, rel=0.02)


def test_knowing_the_distribution_helps_the_greedy() -> None:
    config = EnvConfig("gadask/MetaMDP-v0")
    informed, psrl = (play_baseline(name, config, range(500)).returns for name in ("informed-greedy", "psrl"))
    assert (informed - psrl).mean() > 8
