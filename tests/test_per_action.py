"""A GRU for each action: equality of lanes and module, and what sharing weights promises."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import PolicyConfig
from gadask.errors import PolicyError
from gadask.policies import LanePolicy, Policy, make_policy
from gadask.policies.initial import layers_of

sizes = st.integers(1, 6)


def policy_of(n_actions: int, states: int = 0, n_others: int = 2, seed: int = 0, **kwargs: Any) -> Policy:
    """Return a policy whose parameters are all drawn at random, biases too."""
    space = gymnasium.spaces.Box(-3, 3, (states + n_actions + n_others,), np.float32)
    config = PolicyConfig("gru-per-action", {"states": states, **kwargs})
    policy = make_policy(config, space, gymnasium.spaces.Discrete(n_actions))
    policy.flat.copy_(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed))).mul_(0.7)
    return policy


def steps(n_actions: int, states: int, n_others: int = 2, n_steps: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Return observations as an environment gives them: one-hot state, one-hot previous action, other numbers."""
    rng = np.random.default_rng(seed)
    place = np.eye(states, dtype=np.float32)[rng.integers(states, size=n_steps)] if states else np.zeros((n_steps, 0))
    action = np.eye(n_actions, dtype=np.float32)[rng.integers(n_actions, size=n_steps)]
    action[0] = 0
    return np.concatenate([place, action, rng.standard_normal((n_steps, n_others))], 1).astype(np.float32)


def outputs_of(policy: Policy, observations: NDArray[np.float32]) -> NDArray[np.float32]:
    policy.reset()
    return np.concatenate([policy.output(observation).copy() for observation in observations])


@settings(max_examples=25, deadline=None)
@given(n_actions=sizes, states=st.integers(0, 4), n_others=st.integers(0, 3), units=sizes, n_lanes=st.integers(1, 5))
def test_each_lane_plays_its_own_network(n_actions: int, states: int, n_others: int, units: int, n_lanes: int) -> None:
    """Lanes agree with modules called one by one, also when one lane begins again among the others."""
    singles = [policy_of(n_actions, states, n_others, seed, units=units) for seed in range(n_lanes)]
    observations = [steps(n_actions, states, n_others, seed=seed) for seed in range(n_lanes)]
    lanes = LanePolicy(singles[0], n_lanes)
    for lane, single in enumerate(singles):
        lanes.rows[lane].copy_(single.flat)
        lanes.reset(lane)
    for step in range(12):
        if step == 5:
            singles[-1].reset()
            lanes.reset(n_lanes - 1)
        values = np.stack([own[step] for own in observations])
        lanes.act(values)
        expected = np.concatenate([single.output(value) for single, value in zip(singles, values, strict=True)])
        np.testing.assert_allclose(lanes.outputs, expected, rtol=1e-4, atol=1e-4)  # ten steps multiply roundings


@pytest.mark.parametrize("states", [0, 3])
def test_actions_and_states_that_change_places_change_nothing_else(states: int) -> None:
    policy = policy_of(5, states)
    observations = steps(5, states)
    actions, places = np.array([3, 1, 4, 0, 2]), np.array([2, 0, 1])[:states]
    moved = observations[:, [*places, *(states + actions), *range(states + 5, states + 7)]]
    np.testing.assert_allclose(outputs_of(policy, moved), outputs_of(policy, observations)[:, actions], atol=1e-6)


def test_a_genome_plays_any_number_of_actions_and_states() -> None:
    few, many = policy_of(5), policy_of(50)
    assert few.n_params == many.n_params
    assert policy_of(2, states=3).n_params == policy_of(7, states=20).n_params
    many.flat.copy_(few.flat)
    observations = steps(5, 0)
    padded = np.concatenate([observations[:, :5], np.zeros((12, 45), np.float32), observations[:, 5:]], 1)
    untried = outputs_of(many, padded)[:, 5:]
    np.testing.assert_allclose(untried, np.broadcast_to(untried[:, :1], untried.shape), atol=1e-6)


def test_only_the_cells_of_the_state_that_was_left_learn() -> None:
    policy = policy_of(2, states=3)
    cells, before = policy.module.initial_state()  # type: ignore[operator]
    observation = np.array([0, 1, 0, 0, 0, 1, 1], np.float32)  # the first: in state 1
    _, (cells, before) = policy.module(torch.from_numpy(observation)[None], (cells, before))
    assert before == 1
    first = cells.clone()
    observation = np.array([0, 0, 1, 1, 0, 1, 1], np.float32)  # action 0 led from state 1 to state 2
    _, (cells, before) = policy.module(torch.from_numpy(observation)[None], (cells, before))
    assert before == 2
    changed = (cells != first).any(dim=2)
    assert changed[1].all()
    assert not changed[[0, 2]].any()


def test_initial_scales() -> None:
    policy = policy_of(5, states=10, units=60)
    policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(1)))
    layers = layers_of(policy.module)
    assert [layer.fan_in for layer in layers] == [1 + 2 * 2 + 2 * 60, 60, 60]
    assert [layer.is_output for layer in layers] == [False, False, True]
    for layer in layers[:-1]:
        assert layer.weight.std().item() == pytest.approx(layer.fan_in**-0.5, rel=0.08)
    n_numbers = sum(layer.weight.numel() + sum(c.numel() for c, _ in layer.constants) for layer in layers)
    assert n_numbers == policy.n_params  # every parameter belongs to one layer


@pytest.mark.parametrize(
    ("space", "action_space", "kwargs", "message"),
    [
        ((6,), gymnasium.spaces.Discrete(5), {"states": 2}, "2 entries for the state and 5 for the previous action"),
        ((6,), gymnasium.spaces.Box(-1, 1, (2,)), {}, "needs Discrete actions, found Box"),
        ((6, 2, 2), gymnasium.spaces.Discrete(5), {}, "'gru-per-action' needs a Box observation of one axis"),
        ((6,), gymnasium.spaces.Discrete(5), {"units": 0}, "units: expected a whole number of at least 1"),
        ((6,), gymnasium.spaces.Discrete(5), {"states": -1}, "states: expected a whole number of at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    space: tuple[int, ...], action_space: gymnasium.Space, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        make_policy(PolicyConfig("gru-per-action", kwargs), gymnasium.spaces.Box(0, 1, space), action_space)
