"""The streaming temporal convolution: equality with the convolution over the whole sequence, and its cost."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gadask.config import PolicyConfig
from gadask.errors import PolicyError
from gadask.policies import LanePolicy, Policy, make_policy
from gadask.policies.initial import layers_of

BUTTONS = gymnasium.spaces.Discrete(4)


def policy_of(size: int, seed: int = 0, power: float = 0.1, **kwargs: Any) -> Policy:
    """Return a policy whose parameters are those of the start and all changed, biases too."""
    space = gymnasium.spaces.Box(-3, 3, (size,), np.float32)
    policy = make_policy(PolicyConfig("snail", kwargs), space, BUTTONS)
    noise = torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed))
    policy.initialise(noise)
    policy.flat.add_(noise, alpha=power)
    return policy


def observations(n: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, size)).astype(np.float32)


def whole_sequence(policy: Policy, values: NDArray[np.float32], depth: int, blocks: int) -> torch.Tensor:
    """Compute the network as the paper writes it, with `conv1d` over all steps, in double precision."""
    sequence = torch.from_numpy(values.T[None]).double()
    for layer in range(depth * blocks):
        parameters = policy.module.get_parameter(f"convolutions.{layer}").double()
        channels, dilation = sequence.shape[1], 2 ** (layer % depth)
        now, before = parameters[1 : 1 + channels], parameters[1 + channels :]
        weight = torch.stack([before.T, now.T], dim=2)
        padded = nn.functional.pad(sequence, (dilation, 0))
        result = nn.functional.conv1d(padded, weight, parameters[0], dilation=dilation).relu()
        sequence = torch.cat([sequence, result], dim=1)
    output = policy.module.get_parameter("output").double()
    return sequence[0].T @ output[1:] + output[0]


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 5),
    length=st.integers(2, 40),
    blocks=st.integers(1, 2),
    channels=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_streaming_equals_the_whole_sequence(size: int, length: int, blocks: int, channels: int, seed: int) -> None:
    policy = policy_of(size, seed, length=length, blocks=blocks, channels=channels)
    values = observations(2 * length + 3, size, seed)  # the ring goes round
    depth = int(np.ceil(np.log2(length)))
    assert len(list(policy.module.parameters())) == depth * blocks + 1
    expected = whole_sequence(policy, values, depth, blocks)
    policy.reset()
    found = np.concatenate([policy.output(value) for value in values])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))


@torch.no_grad()
def test_five_hundred_steps_equal_the_whole_sequence_to_1e_5() -> None:
    policy = policy_of(12, power=0.01, length=500)
    values = observations(500, 12)
    expected = whole_sequence(policy, values, 9, 1)
    assert 0.1 < expected.abs().max() < 10
    policy.reset()
    found = np.concatenate([policy.output(value) for value in values])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_what_it_sees_ends_after_length_steps() -> None:
    policy = policy_of(2, length=8)
    values = observations(20, 2)
    changed = values.copy()
    changed[4] += 1
    outputs = []
    for sequence in (values, changed):
        policy.reset()
        outputs.append(np.concatenate([policy.output(value) for value in sequence]))
    differ = (outputs[0] != outputs[1]).any(axis=1)
    assert differ.tolist() == [4 <= step < 12 for step in range(20)]


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation of PyTorch with the shapes that it works on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = [str(tuple(arg.shape)) for arg in args if isinstance(arg, torch.Tensor)]
        self.seen.append((str(func), *shapes))
        return func(*args, **kwargs or {})


@torch.no_grad()
def test_a_step_costs_the_same_at_any_length() -> None:
    policy = policy_of(5, length=500)
    value = torch.zeros(1, 5)
    state = policy.module.initial_state()  # type: ignore[operator]
    costs = {}
    for step in range(1, 601):
        with _Operations() if step % 490 < 30 else nullcontext() as operations:
            _, state = policy.module(value, state)
        if operations is not None:
            costs[step] = operations.seen
    assert {10, 500} < set(costs)
    assert sum(name.startswith("aten.mv") or name.startswith("aten.mm") for name, *_ in costs[10]) == 2 * 9 + 1
    assert all(cost == costs[10] for cost in costs.values())


def test_a_step_of_lanes_costs_the_same_at_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = LanePolicy(policy_of(5, length=500), 3)
    values = observations(3, 5)
    shapes: list[tuple[int, ...]] = []
    matmul = np.matmul

    def counted(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        shapes.extend([a.shape, b.shape])
        matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counted)
    costs = []
    for _ in range(600):
        shapes.clear()
        lanes.act(values)
        costs.append(shapes.copy())
    assert len(costs[0]) == 2 * (2 * 9 + 1)
    assert all(cost == costs[0] for cost in costs)


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 5),
    length=st.integers(2, 12),
    blocks=st.integers(1, 2),
    n_lanes=st.integers(1, 5),
    restart=st.integers(0, 30),
)
def test_each_lane_plays_its_own_network(size: int, length: int, blocks: int, n_lanes: int, restart: int) -> None:
    """Lanes agree with modules called one by one, also when one lane begins again among the others."""
    singles = [policy_of(size, seed, length=length, blocks=blocks, channels=5) for seed in range(n_lanes)]
    lanes = LanePolicy(singles[0], n_lanes)
    for lane, single in enumerate(singles):
        lanes.rows[lane].copy_(single.flat)
        lanes.reset(lane)
    for step in range(40):
        if step == restart:
            singles[-1].reset()
            lanes.reset(n_lanes - 1)
        values = observations(n_lanes, size, seed=step)
        lanes.act(values)
        expected = np.concatenate([single.output(value) for single, value in zip(singles, values, strict=True)])
        np.testing.assert_allclose(lanes.outputs, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("initial", ["fan-in", "unit-norm"])
def test_initial_scales(initial: str) -> None:
    policy = policy_of(40, length=5, initial=initial)
    policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(1)))
    layers = layers_of(policy.module)
    assert [layer.fan_in for layer in layers] == [2 * 40, 2 * 72, 2 * 104, 136]
    assert [layer.is_output for layer in layers] == [False, False, False, True]
    for layer in layers:
        assert layer.weight.shape[0] == layer.fan_in
        assert not any(constant.any() for constant, _ in layer.constants)
        if initial == "unit-norm":
            norms = torch.linalg.vector_norm(layer.weight, dim=0)
            torch.testing.assert_close(norms, torch.ones_like(norms))
        else:
            scale = (0.1 if layer.is_output else 1) * layer.fan_in**-0.5
            assert layer.weight.std().item() == pytest.approx(scale, rel=0.08)
    n_numbers = sum(layer.weight.numel() + sum(c.numel() for c, _ in layer.constants) for layer in layers)
    assert n_numbers == policy.n_params


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"length": 1}, "policy.kwargs.length: expected a whole number of at least 2, found 1"),
        ({"blocks": 0}, "policy.kwargs.blocks: expected a whole number of at least 1, found 0"),
        ({"channels": "8"}, "policy.kwargs.channels: expected a whole number of at least 1, found '8'"),
        ({"dilation": 2}, "unknown key 'dilation' for policy 'snail'"),
    ],
)
def test_what_does_not_fit_is_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        policy_of(3, **kwargs)
