"""From outputs to actions: binned, sampled, scaled."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gadask.config import PolicyConfig
from gadask.errors import PolicyError
from gadask.policies import LanePolicy, make_policy
from gadask.policies.actions import Actions
from tests.small_policies import IMAGE, VECTOR, noise_for, policy_of, real_frames


@pytest.mark.parametrize("kind", ["mlp", "gru", "snail"])
def test_binned_actions_are_those_of_the_largest_output_of_each_entry(kind: str) -> None:
    space = gymnasium.spaces.Box(np.array([[-1, 0], [-0.4, 5]], np.float32), np.array([[1, 8], [0.4, 6]], np.float32))
    policy = make_policy(PolicyConfig(kind, {"actions": "uniform:5"}), VECTOR, space)
    policy.initialise(noise_for(policy, 1))
    policy.flat.add_(noise_for(policy, 2))
    lanes = LanePolicy(policy, 3)
    observations = np.random.default_rng(0).normal(size=(3, *VECTOR.shape)).astype(VECTOR.dtype)
    for row in lanes.rows:
        row.copy_(policy.flat)
    found = lanes.act(observations)
    assert found.shape == (3, 2, 2)
    assert found.dtype == np.float32
    values = np.stack([np.linspace(low, high, 5) for low, high in ((-1, 1), (0, 8), (-0.4, 0.4), (5, 6))])
    outputs = lanes.outputs.reshape(3, 4, 5)
    expected = [[values[entry, outputs[lane, entry].argmax()] for entry in range(4)] for lane in range(3)]
    np.testing.assert_allclose(found.reshape(3, 4).astype(np.float64), expected, rtol=1e-6)
    assert len(np.unique(found)) > 4
    policy.reset()
    assert space.contains(policy.act(observations[0]))


def test_box_actions_are_scaled_to_bounds_or_clipped() -> None:
    space = gymnasium.spaces.Box(np.array([-2, 0, -np.inf, -np.inf]), np.array([4, 1, np.inf, 0.5]), dtype=np.float64)
    policy = policy_of("mlp", VECTOR, space, hidden="")
    policy.flat.zero_()
    policy.module.get_parameter("0.bias").copy_(torch.tensor([0.3, 50.0, 7.0, 7.0]))
    action = policy.act(np.zeros(5, np.float32))
    assert isinstance(action, np.ndarray)
    assert action.dtype == space.dtype
    np.testing.assert_allclose(action.astype(np.float64), [1 + 3 * np.tanh(0.3), 1, 7, 0.5], rtol=1e-6)
    assert space.contains(action)


def test_images_drive_box_actions_too() -> None:
    space = gymnasium.spaces.Box(-1, 1, (2, 3), np.float32)
    policy = policy_of("nature", IMAGE, space)
    policy.initialise(noise_for(policy))
    assert space.contains(policy.act(real_frames()[0]))


def test_actions_are_sampled_from_the_softmax_by_the_episodes_stream() -> None:
    policy = policy_of("mlp", VECTOR, gymnasium.spaces.Discrete(4, start=2), hidden="", actions="sampled")
    policy.flat.zero_()
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0])
    policy.module.get_parameter("0.bias").copy_(logits)
    value = np.zeros(5, np.float32)
    policy.reset(np.random.default_rng(5))
    actions = [policy.act(value) for _ in range(4000)]
    expected = 4000 * logits.softmax(0).numpy()
    counts = np.bincount(np.array(actions, np.int64) - 2, minlength=4)
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # 99.9 % quantile of χ² with 3 degrees of freedom
    policy.reset(np.random.default_rng(5))
    assert [policy.act(value) for _ in range(100)] == actions[:100]
    policy.reset(np.random.default_rng(6))
    assert [policy.act(value) for _ in range(100)] != actions[:100]
    with pytest.raises(PolicyError, match=r"expected the episode's stream .* found none"):
        policy.reset()


@settings(max_examples=50, deadline=None)
@given(
    outputs=st.lists(st.floats(width=32), min_size=1, max_size=6),
    uniform=st.sampled_from([0.0, 0.3, 1 - 2**-24]),
    sampled=st.booleans(),
)
def test_any_outputs_give_an_action(outputs: list[float], uniform: float, sampled: bool) -> None:
    actions = Actions(gymnasium.spaces.Discrete(len(outputs)), "sampled" if sampled else "argmax", n_lanes=2)
    values = np.array([outputs, [0.0] * len(outputs)], np.float32)
    with np.errstate(all="ignore"):
        chosen = actions.choose(values, np.array([uniform, 0.999], np.float32) if sampled else None)
    assert 0 <= chosen[0] < len(outputs)
    assert chosen[1] == (len(outputs) - 1 if sampled else 0)
    if np.isfinite(values).all():
        with np.errstate(all="ignore"):
            assert np.exp(values[0, chosen[0]] - values[0].max()) > 0  # it has a probability
