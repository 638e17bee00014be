"""GRU, LSTM and convolution + GRU: equality with PyTorch's cells, initial scales, and the form for many lanes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from gadask.config import PolicyConfig
from gadask.errors import PolicyError
from gadask.policies import LanePolicy, Policy, make_policy
from gadask.policies.initial import layers_of

BUTTONS = gymnasium.spaces.Discrete(4)
IMAGE = gymnasium.spaces.Box(0, 255, (3, 13, 17), np.uint8)
sizes = st.integers(1, 9)


def vector(size: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-3, 3, (size,), np.float32)


def policy_of(kind: str, space: gymnasium.Space, seed: int = 0, **kwargs: Any) -> Policy:
    """Return a policy whose parameters are all drawn at random, biases too."""
    policy = make_policy(PolicyConfig(kind, kwargs), space, BUTTONS)
    policy.flat.copy_(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed))).mul_(0.5)
    return policy


def observations(space: gymnasium.spaces.Box, n: int, seed: int = 0) -> NDArray[np.generic]:
    generator = np.random.default_rng(seed)
    if space.dtype == np.uint8:
        return generator.integers(0, 256, (n, *space.shape), np.uint8)
    return generator.standard_normal((n, *space.shape)).astype(np.float32)


def with_parameters(cell: nn.Module, **matrices: torch.Tensor) -> nn.Module:
    """Fill PyTorch's cell with transposed matrices and biases."""
    for name, value in matrices.items():
        cell.get_parameter(name).data = value.T.contiguous() if value.ndim == 2 else value
    return cell


def gru_outputs(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    given, hidden, output = (module.get_parameter(name).data for name in ("input", "hidden", "output"))
    cell = with_parameters(
        nn.GRUCell(len(given) - 1, len(hidden) - 1),
        **{"weight_ih": given[:-1], "bias_ih": given[-1], "weight_hh": hidden[:-1], "bias_hh": hidden[-1]},
    )
    state = torch.zeros(1, len(hidden) - 1)
    outputs = []
    for value in inputs:
        state = cell(value[None], state)
        outputs.append(state @ output[:-1] + output[-1])
    return torch.cat(outputs)


@settings(max_examples=20, deadline=None)
@given(size=sizes, units=sizes, seed=st.integers(0, 99))
@torch.no_grad()
def test_the_gru_is_pytorchs(size: int, units: int, seed: int) -> None:
    policy = policy_of("gru", vector(size), seed, units=units)
    given_values = observations(vector(size), 12, seed)
    expected = gru_outputs(policy.module, torch.from_numpy(given_values))
    found = np.concatenate([policy.output(value) for value in given_values])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(size=sizes, units=sizes, seed=st.integers(0, 99))
@torch.no_grad()
def test_the_lstm_is_pytorchs(size: int, units: int, seed: int) -> None:
    policy = policy_of("lstm", vector(size), seed, units=units)
    matrix, output = (policy.module.get_parameter(name).data for name in ("cell", "output"))
    cell = with_parameters(
        nn.LSTMCell(size, units),
        **{"weight_ih": matrix[:size], "weight_hh": matrix[size:-1]},
        **{"bias_ih": matrix[-1], "bias_hh": torch.zeros(4 * units)},
    )
    state = torch.zeros(1, units), torch.zeros(1, units)
    for value in observations(vector(size), 12, seed):
        state = cell(torch.from_numpy(value)[None], state)
        expected = state[0] @ output[:-1] + output[-1]
        np.testing.assert_allclose(policy.output(value), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_convolutions_and_gru_are_pytorchs() -> None:
    policy = policy_of("conv-gru", IMAGE, filters="5,6", kernels="4,3", strides="3,1", units=7)
    image = torch.from_numpy(observations(IMAGE, 4)).float() / 255
    for i, (channels, filters, kernel, stride) in enumerate([(3, 5, 4, 3), (5, 6, 3, 1)]):
        matrix = policy.module.get_parameter(f"convolutions.{i}")
        weight = matrix[:-1].view(kernel, kernel, channels, filters).permute(3, 2, 0, 1)
        image = nn.functional.conv2d(image, weight, matrix[-1], stride).relu()
    assert image.shape == (4, 6, 2, 3)
    features = image.permute(0, 2, 3, 1).reshape(4, -1)
    expected = gru_outputs(policy.module.get_submodule("memory"), features)
    found = np.concatenate([policy.output(value) for value in observations(IMAGE, 4)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_fast_weights_read_what_was_stored_under_a_key_like_the_query() -> None:
    policy = policy_of("conv-fast-weights", IMAGE, filters="5", kernels="4", strides="3", units=3)
    memory = policy.module.get_submodule("memory")
    images = observations(IMAGE, 6)
    matrix = policy.module.get_parameter("convolutions.0")
    weight = matrix[:-1].view(4, 4, 3, 5).permute(3, 2, 0, 1)
    image = nn.functional.conv2d(torch.from_numpy(images).float() / 255, weight, matrix[-1], 3).relu()
    features = image.permute(0, 2, 3, 1).reshape(len(images), -1)
    project, output = (memory.get_parameter(name) for name in ("project", "output"))
    keys, queries, values = (features @ project[:-1] + project[-1]).tanh().chunk(3, 1)
    # Attention to the steps before, without softmax (Schlag et al. 2021, section 2.2).
    likeness = (queries @ keys.T).tril(-1)
    expected = torch.cat([features, likeness @ values], 1) @ output[:-1] + output[-1]
    found = np.stack([policy.output(value)[0] for value in images])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "space", "size"),
    [
        ("gru", vector(7), (7 + 1) * 96 + (32 + 1) * 96 + (32 + 1) * 4),
        ("lstm", vector(7), (7 + 32 + 1) * 128 + (32 + 1) * 4),
        # 13 × 17 → 6 × 8 → 2 × 3
        ("conv-gru", IMAGE, 28 * 16 + 145 * 32 + (2 * 3 * 32 + 1) * 96 + (32 + 1) * 96 + (32 + 1) * 4),
        ("conv-fast-weights", IMAGE, 28 * 16 + 145 * 32 + (2 * 3 * 32 + 1) * 12 + (2 * 3 * 32 + 4 + 1) * 4),
    ],
)
def test_default_sizes(kind: str, space: gymnasium.Space, size: int) -> None:
    assert policy_of(kind, space).n_params == size


@pytest.mark.parametrize("initial", ["fan-in", "unit-norm"])
@pytest.mark.parametrize(
    ("kind", "space", "kwargs", "fan_ins"),
    [
        ("gru", vector(40), {"units": 60}, [40, 60, 60]),
        ("lstm", vector(40), {"units": 60}, [40, 60, 60]),
        ("conv-gru", IMAGE, {"units": 60}, [27, 144, 192, 60, 60]),
        ("conv-fast-weights", IMAGE, {"units": 60}, [27, 144, 192, 252]),
    ],
)
def test_initial_scales(
    kind: str, space: gymnasium.Space, kwargs: dict[str, Any], fan_ins: list[int], initial: str
) -> None:
    policy = policy_of(kind, space, initial=initial, **kwargs)
    policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(1)))
    layers = layers_of(policy.module)
    assert [layer.fan_in for layer in layers] == fan_ins
    assert [layer.is_output for layer in layers] == [False] * (len(layers) - 1) + [True]
    for layer in layers:
        assert not any(constant.any() for constant, _ in layer.constants)
        if initial == "unit-norm":
            norms = torch.linalg.vector_norm(layer.weight, dim=0)
            torch.testing.assert_close(norms, torch.ones_like(norms))
        else:
            scale = (0.1 if layer.is_output else 1) * layer.fan_in**-0.5
            assert layer.weight.std().item() == pytest.approx(scale, rel=0.08)
    n_numbers = sum(layer.weight.numel() + sum(c.numel() for c, _ in layer.constants) for layer in layers)
    assert n_numbers == policy.n_params  # every parameter belongs to one layer


def test_scales_are_those_of_pytorchs_cells() -> None:
    for kind, cell in (("gru", nn.GRUCell(7, 5)), ("lstm", nn.LSTMCell(7, 5))):
        own = policy_of(kind, vector(7), units=5).module
        theirs = [layer for layer in layers_of(cell) if layer.weight.numel()]
        assert [layer.fan_in for layer in layers_of(own)[:2]] == [layer.fan_in for layer in theirs]
        assert [layer.weight.shape for layer in layers_of(own)[:2]] == [layer.weight.T.shape for layer in theirs]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_what_a_unit_remembers_fades_as_slowly_as_it_is_told_to(kind: str) -> None:
    policy = policy_of(kind, vector(1), units=3, memory_steps=200)
    policy.initialise(torch.zeros(policy.n_params))  # no weights: the memory is the biases' alone
    state = torch.ones(1, 3)
    after = policy.module(torch.zeros(1, 1), state if kind == "gru" else (state, state))[1]
    left = after if kind == "gru" else after[1]
    torch.testing.assert_close(left, torch.tensor([[1 - 1 / 2, 1 - 1 / 20, 1 - 1 / 200]]))


@pytest.mark.parametrize(
    ("kind", "space"),
    [("gru", vector(3)), ("lstm", vector(3)), ("conv-gru", IMAGE), ("conv-fast-weights", IMAGE)],
)
def test_an_episode_begins_without_memory(kind: str, space: gymnasium.spaces.Box) -> None:
    policy = policy_of(kind, space)
    values = observations(space, 6)
    policy.reset()
    first = [policy.output(value).copy() for value in values]
    again = [policy.output(value).copy() for value in values]
    assert not np.allclose(again[0], first[0], atol=1e-6)  # it remembers
    policy.reset()
    np.testing.assert_array_equal([policy.output(value) for value in values], first)


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(["gru", "lstm", "conv-gru", "conv-fast-weights"]),
    size=sizes,
    units=sizes,
    n_lanes=st.integers(1, 5),
    restart=st.integers(0, 9),
)
def test_each_lane_plays_its_own_network(kind: str, size: int, units: int, n_lanes: int, restart: int) -> None:
    """Lanes agree with modules called one by one, also when one lane begins again among the others."""
    space = IMAGE if kind.startswith("conv-") else vector(size)
    singles = [policy_of(kind, space, seed, units=units) for seed in range(n_lanes)]
    lanes = LanePolicy(singles[0], n_lanes)
    for lane, single in enumerate(singles):
        lanes.rows[lane].copy_(single.flat)
        lanes.reset(lane)
    for step in range(10):
        if step == restart:
            singles[-1].reset()
            lanes.reset(n_lanes - 1)
        values = observations(space, n_lanes, seed=step)
        actions = lanes.act(values)
        expected = np.concatenate([single.output(value) for single, value in zip(singles, values, strict=True)])
        np.testing.assert_allclose(lanes.outputs, expected, rtol=1e-4, atol=1e-4)  # ten steps multiply roundings
        np.testing.assert_array_equal(actions, lanes.outputs.argmax(1))


@pytest.mark.parametrize(
    ("kind", "space", "kwargs", "message"),
    [
        ("gru", IMAGE, {}, "'gru' needs a Box observation of one axis, found .*'conv-gru'"),
        ("lstm", vector(3), {"units": 0}, "policy.kwargs.units: expected a whole number of at least 1, found 0"),
        ("gru", vector(3), {"units": 2.5}, "policy.kwargs.units: expected a whole number of at least 1, found 2.5"),
        ("gru", vector(3), {"memory_steps": 1}, "policy.kwargs.memory_steps: expected a whole number of at least 2"),
        ("gru", vector(3), {"initial": "he"}, "policy.kwargs.initial: expected one of 'fan-in'"),
        ("conv-gru", vector(3), {}, r"'conv-gru' needs .* shape \(channels, height, width\), found .*'gru'"),
        ("conv-gru", IMAGE, {"filters": "8"}, "one number of each for every convolution, found filters = '8', kern"),
        ("conv-gru", IMAGE, {"filters": "", "kernels": "", "strides": ""}, "one number of each"),
        ("conv-gru", IMAGE, {"strides": "2,0"}, "policy.kwargs.strides: expected numbers .*, found '2,0'"),
        ("conv-gru", IMAGE, {"kernels": "5,6"}, "kernels: expected at most 5 for an image of 5 × 7, found 6"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, space: gymnasium.Space, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        policy_of(kind, space, **kwargs)
