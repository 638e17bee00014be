"""The bandit: its laws, what a policy sees, and its baselines against published means."""

from __future__ import annotations

import numpy as np
import pytest

from gadask.config import EnvConfig
from gadask.envs.bandit import BanditLanes, MetaBandit
from gadask.envs.baselines import play_baseline
from gadask.envs.baselines.gittins import gittins_indices
from gadask.errors import EnvError

N = 4000


@pytest.fixture(scope="module")
def many() -> BanditLanes:
    """Lanes of which each has started the episode of its number."""
    lanes = BanditLanes(N, n_arms=4, n_pulls=8)
    for lane in range(N):
        lanes.reset(lane, lane)
    return lanes


def test_probabilities_are_uniform_and_independent(many: BanditLanes) -> None:
    counts = np.histogram(many.probabilities, bins=10, range=(0, 1))[0]
    expected = N * 4 / 10
    assert counts.sum() == N * 4
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()
    correlations = np.corrcoef(many.probabilities.T) - np.eye(4)
    assert np.abs(correlations).max() < 4 / np.sqrt(N)


def test_arms_pay_with_their_probabilities_independently(many: BanditLanes) -> None:
    """Arm 0 is pulled four times, then arm 3; the standard error of a mean of rewards is at most 0.5 / √N."""
    rewards = []
    for arm in (0, 0, 0, 0, 3, 3, 3, 3):
        many.step(np.full(N, arm))
        assert set(np.unique(many.rewards)) == {0, 1}
        chances = many.probabilities[:, arm]
        for high in (False, True):
            group = (chances > 0.5) == high
            error = 0.5 / np.sqrt(group.sum())
            assert many.rewards[group].mean() == pytest.approx(chances[group].mean(), abs=4 * error)
        rewards.append(many.rewards - chances)
    assert many.over.all()
    covariances = np.cov(rewards) - np.diag(np.var(rewards, axis=1))
    assert np.abs(covariances).max() < 4 * 0.25 / np.sqrt(N)


def test_a_policy_sees_action_reward_and_pulls_left() -> None:
    env = MetaBandit(n_arms=3, n_pulls=4)
    rewards = set()
    for seed in range(5):
        observation, info = env.reset(seed=seed)
        np.testing.assert_array_equal(observation, [0, 0, 0, 0, 1])
        assert info == {}
        for left, arm in ((0.75, 0), (0.5, 2), (0.25, 0), (0.0, 1)):
            observation, reward, terminated, truncated, _ = env.step(arm)
            rewards.add(reward)
            np.testing.assert_array_equal(observation, [arm == 0, arm == 1, arm == 2, reward, left])
            assert (terminated, truncated) == (left == 0, False)
    assert rewards == {0, 1}


def test_pulls_left_can_be_counted() -> None:
    env = MetaBandit(n_pulls=3, pulls_left="count")
    assert env.observation_space.high[-1] == 3
    lefts = [env.reset(seed=0)[0][-1], *(env.step(0)[0][-1] for _ in range(3))]
    assert lefts == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("n_pulls", "index"), [(2, 0.5590), (10, 0.7029), (20, 0.7614), (100, 0.8699)]
)  # Gittins 1989, discounts 0.5, 0.9, 0.95, 0.99
def test_gittins_indices_equal_the_published(n_pulls: int, index: float) -> None:
    assert gittins_indices(n_pulls)[0, 0] == pytest.approx(index, abs=1e-4)


def test_gittins_indices_grow_with_wins_and_exceed_the_mean() -> None:
    indices = gittins_indices(50)
    for n in range(50):
        row = indices[n, : n + 1]
        assert (np.diff(row) > 0).all()
        assert (row > np.arange(1, n + 2) / (n + 2) - 1e-9).all()
        assert np.isnan(indices[n, n + 1 :]).all()
        if n:  # a loss lowers an index, a win raises it
            assert (indices[n, :-1][: len(row) - 1] < indices[n - 1, : len(row) - 1]).all()
            assert (row[1:] > indices[n - 1, : len(row) - 1]).all()


def test_too_many_pulls_for_the_table_are_refused() -> None:
    with pytest.raises(EnvError, match="expected at most 1000 pulls, found 1001"):
        play_baseline("gittins", EnvConfig("gadask/MetaBandit-v0", {"n_pulls": 1001}), range(2))


@pytest.mark.parametrize(
    ("n_pulls", "published"),
    [
        (10, {"random": 5.0, "thompson": 5.7, "greedy": 6.6, "epsilon-greedy": 6.6, "ucb1": 6.7, "gittins": 6.6}),
        (
            100,
            {"random": 49.9, "thompson": 74.7, "greedy": 74.8, "epsilon-greedy": 75.4, "ucb1": 78.0, "gittins": 78.3},
        ),
    ],
)
def test_baselines_reach_the_published_means(n_pulls: int, published: dict[str, float]) -> None:
    """The means of RL² with 5 arms, of 1,000 episodes each; 4 standard errors of both are allowed."""
    config = EnvConfig("gadask/MetaBandit-v0", {"n_pulls": n_pulls})
    for name, mean in published.items():
        returns = play_baseline(name, config, range(2000)).returns
        error = returns.std() * np.sqrt(1 / 2000 + 1 / 1000)
        assert returns.mean() == pytest.approx(mean, abs=4 * error), name


def test_baselines_keep_their_order() -> None:
    """On the same bandits; every gap is at least 1, many times the standard error of a difference."""
    config = EnvConfig("gadask/MetaBandit-v0", {"n_pulls": 100, "n_arms": 10})
    order = ("random", "thompson", "ucb1")
    means = [play_baseline(name, config, range(1000)).returns.mean() for name in order]
    assert means[0] + 20 < means[1] < means[2] - 3
    gittins = play_baseline("gittins", config, range(1000)).returns.mean()
    greedy = play_baseline("greedy", config, range(1000)).returns.mean()
    assert greedy + 3 < gittins
    assert gittins > means[2] - 0.5
