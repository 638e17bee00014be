"""Virtual batch normalisation: what is measured, what it does to the outputs, and the kernels that compute it."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.config import EnvConfig, PolicyConfig
from gadask.errors import PolicyError
from gadask.play.lanes import count_lanes
from gadask.policies import Policy, make_policy, virtual_batch_norm
from gadask.policies.initial import layers_of
from gadask.policies.kernels import network
from gadask.policies.kernels.library import INSTRUCTION_SETS, load
from gadask.policies.virtual_batch_norm import NormalisedNetwork
from tests.instruction_sets import runnable
from tests.small_policies import BUTTONS, IMAGE, noise_for, policy_of, real_frames

Parameters = dict[str, NDArray[np.float64]]
SUPPORTED = runnable(load(), INSTRUCTION_SETS, "forward_float")
assert SUPPORTED, "the kernels are not compiled: needs GCC and a processor with AVX2 or NEON; make setup"


def referred(space: gymnasium.Space = IMAGE, seed: int = 0, weight: float = 0.02) -> Policy:
    """A policy of weights that have mutated, which has seen six pictures."""
    policy = policy_of("salimans2017", space)
    policy.initialise(noise_for(policy, seed))
    policy.flat.add_(noise_for(policy, seed + 1), alpha=weight)
    rng = np.random.default_rng(seed)
    frames = real_frames() if space is IMAGE else [rng.integers(0, 256, space.shape, np.uint8) for _ in range(6)]
    policy.refer_to(frames)
    policy.reset()
    return policy


def network_of(policy: Policy) -> NormalisedNetwork:
    assert isinstance(policy.module, NormalisedNetwork)
    return policy.module


def patches(image: NDArray[np.float64], kernel: int, stride: int) -> NDArray[np.float64]:
    """Cut out what SAME padding gives, shape `(rows, columns, kernel, kernel, channels)`, from a `(y, x, c)` image."""
    sizes = [-(-size // stride) for size in image.shape[:2]]
    totals = [max((n - 1) * stride + kernel - size, 0) for n, size in zip(sizes, image.shape, strict=False)]
    padded = np.pad(image, [(total // 2, total - total // 2) for total in totals] + [(0, 0)])
    return np.array(
        [
            [padded[stride * y : stride * y + kernel, stride * x : stride * x + kernel] for x in range(sizes[1])]
            for y in range(sizes[0])
        ]
    )


def plain_outputs(
    parameters: Parameters, reference: list[NDArray[np.uint8]], frame: NDArray[np.uint8]
) -> tuple[list[tuple[NDArray[np.float64], NDArray[np.float64]]], NDArray[np.float64]]:
    """Compute the network layer by layer, frame by frame; returns every layer's mean and deviation, and the outputs."""
    channels = frame.shape[0]
    first = parameters["conv1"].reshape(2, 2, channels, 4, 4, 16).transpose(0, 3, 1, 4, 2, 5)
    kernels = [
        (first.reshape(8, 8, channels, 16), 4),
        (parameters["conv2"].reshape(4, 4, 16, 32), 2),
    ]
    values = [np.moveaxis(one / 255, 0, 2) for one in [*reference, frame]]
    measured = []
    for number in (1, 2, 3):
        if number < 3:
            kernel, stride = kernels[number - 1]
            values = [np.tensordot(patches(one, kernel.shape[0], stride), kernel, 3) for one in values]
        else:
            values = [one.reshape(-1) @ parameters["dense"] for one in values]
        units = np.concatenate([one.reshape(-1, one.shape[-1]) for one in values[:-1]])
        mean = units.sum(0) / len(units)
        deviation = np.sqrt(((units - mean) ** 2).sum(0) / len(units) + 1e-3)
        measured.append((mean, deviation))
        scale, shift = parameters[f"norm{number}.scale"], parameters[f"norm{number}.shift"]
        values = [np.maximum((one - mean) / deviation * scale + shift, 0) for one in values]
    return measured, values[-1] @ parameters["output"][:-1] + parameters["output"][-1]


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 36, 37), (3, 47, 60)])
def test_it_equals_the_network_written_out(shape: tuple[int, int, int]) -> None:
    space = IMAGE if shape == IMAGE.shape else gymnasium.spaces.Box(0, 255, shape, np.uint8)
    policy = referred(space)
    module = network_of(policy)
    parameters = {name: one.double().numpy() for name, one in module.named_parameters()}
    rng = np.random.default_rng(0)
    frames = real_frames() if space is IMAGE else [rng.integers(0, 256, shape, np.uint8) for _ in range(6)]
    frame = frames[-1] // 2
    measured, expected = plain_outputs(parameters, frames, frame)
    for norm, (mean, deviation) in zip((module.norm1, module.norm2, module.norm3), measured, strict=True):
        np.testing.assert_allclose(norm.mean.numpy(), mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(norm.deviation.numpy(), deviation, rtol=1e-4)
    found = module(torch.from_numpy(frame)[None]).numpy()
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(policy.output(frame), found, rtol=0, atol=2e-5 * np.abs(found).max())


@pytest.mark.parametrize("instructions", SUPPORTED)
def test_every_instruction_set_agrees_with_the_module(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "instruction_set", lambda: instructions)
    for dtype in (np.uint8, np.float32):
        space = gymnasium.spaces.Box(0, 255 if dtype == np.uint8 else 1, (4, 84, 84), dtype)
        policy = policy_of("salimans2017", space)
        assert instructions in policy.kernels
        frames = [frame if dtype == np.uint8 else frame.astype(np.float32) / 255 for frame in real_frames()]
        policy.refer_to(frames)
        for seed in (0, 2):
            policy.initialise(noise_for(policy, seed))
            policy.flat.add_(noise_for(policy, seed + 1), alpha=0.05)
            policy.reset()
            for frame in frames:
                expected = policy.module(torch.from_numpy(frame)[None]).numpy()
                np.testing.assert_allclose(policy.output(frame), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_torch_plays_where_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = referred()
    monkeypatch.setattr(virtual_batch_norm, "instruction_set", lambda: None)
    found = referred()
    assert "without gadask's compiled kernels" in found.kernels
    for frame in real_frames():
        output = expected.output(frame)
        np.testing.assert_allclose(found.output(frame), output, rtol=0, atol=2e-5 * np.abs(output).max())
        assert found.act(frame) == expected.act(frame)


def test_the_screens_it_has_measured_are_normal_to_every_unit() -> None:
    policy = referred()
    module = network_of(policy)
    seen: dict[str, torch.Tensor] = {}
    for name in ("norm1", "norm2", "norm3"):
        norm: nn.Module = getattr(module, name)
        norm.scale.fill_(1)  # type: ignore[operator]
        norm.shift.fill_(0)  # type: ignore[operator]
        norm.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    policy.reset()
    for values in seen.values():
        axes = [axis for axis in range(values.ndim) if axis != 1]
        variance, mean = torch.var_mean(values, axes, correction=0)
        assert mean.abs().max() < 1e-4
        assert 0 <= variance.min() <= variance.max() <= 1.0001
        assert variance.median() > 0.5
    assert list(seen) == ["norm1", "norm2", "norm3"]


def test_initial_parameters() -> None:
    policy = policy_of("salimans2017")
    assert policy.n_params == 1_008_754
    policy.initialise(noise_for(policy))
    module = network_of(policy)
    weights = (module.conv1, module.conv2, module.dense, module.output[:-1])
    for each, fan_in, factor in zip(weights, (256, 256, 3872, 256), (1, 1, 1, 0.1), strict=True):
        assert each.shape[0] == fan_in
        assert each.std().item() == pytest.approx(factor * fan_in**-0.5, rel=0.03)
    assert not module.output[-1].any()
    for norm in (module.norm1, module.norm2, module.norm3):
        assert bool((norm.scale == 1).all())
        assert not norm.shift.any()
    policy = policy_of("salimans2017", initial="unit-norm")
    policy.initialise(noise_for(policy))
    torch.testing.assert_close(network_of(policy).dense.norm(dim=0), torch.ones(256))


def test_layers_hold_every_parameter_once() -> None:
    policy = policy_of("salimans2017")
    policy.flat.zero_()
    for layer in layers_of(policy.module):
        layer.weight.add_(1)
        for constant, _ in layer.constants:
            constant.add_(1)
    assert bool((policy.flat == 1).all())


def test_same_weights_give_the_same_bits_whatever_was_computed_between() -> None:
    frames = real_frames()
    policy, other = referred(), referred(seed=3)
    before = [policy.output(frame).copy() for frame in frames]
    kept = policy.flat.clone()
    policy.flat.copy_(other.flat)
    policy.reset()
    for frame in frames:
        np.testing.assert_array_equal(policy.output(frame), other.output(frame))
    assert not np.array_equal(policy.output(frames[0]), before[0])
    policy.flat.copy_(kept)
    with torch.inference_mode():  # as episodes are played
        policy.reset()
    for frame, expected in reversed(list(zip(frames, before, strict=True))):
        np.testing.assert_array_equal(policy.output(frame), expected)
    np.testing.assert_array_equal(policy.flat, kept)  # nothing is folded into the genome


def test_more_threads_measure_the_same_bits() -> None:
    n_threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(referred().module.state_dict())
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(n_threads)
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name


class Centred(nn.Module):
    """A user's module: a linear layer of what differs from the mean of three observations."""

    reference_size = 3
    mean: torch.Tensor

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        super().__init__()
        self.layer = nn.Linear(observation_space.shape[0], int(action_space.n))
        self.register_buffer("mean", torch.zeros(observation_space.shape))
        self.given: list[torch.Tensor] = []

    def refer(self, observations: torch.Tensor) -> None:
        self.given.append(observations)
        self.mean.copy_(observations.mean(0))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(observation - self.mean)
        return output

    def in_lanes(self, parameters: object) -> None:
        raise AssertionError


class NoMethod(nn.Linear):
    """Has a size alone."""

    reference_size = 3

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        super().__init__(observation_space.shape[0], int(action_space.n))


class NoNumber(NoMethod):
    """Has a size that is none."""

    reference_size = "three"  # type: ignore[assignment]


def own(kind: Callable[..., nn.Module] = Centred, **policy: bool) -> Policy:
    space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)
    return make_policy(PolicyConfig(f"{__name__}:{kind.__name__}", **policy), space, BUTTONS)  # type: ignore[arg-type]


def test_a_users_module_measures_when_its_weights_have_changed() -> None:
    policy = own()
    module = policy.module
    assert isinstance(module, Centred)
    policy.initialise(noise_for(policy))
    policy.refer_to([np.array([0.5, value]) for value in (0.0, 0.25, 0.5)])
    for changes, n_calls in ((0.0, 1), (0.0, 1), (0.5, 2), (0.0, 2)):
        policy.flat.add_(changes)
        policy.reset()
        assert len(module.given) == n_calls
    assert module.given[0].dtype == torch.float32
    assert module.given[0].tolist() == [[0.5, 0.0], [0.5, 0.25], [0.5, 0.5]]
    assert not np.abs(policy.output(np.array([0.5, 0.25])) - module.layer.bias.numpy()).any()
    policy.refer_to([np.array([value, 0.0]) for value in (0.0, 0.5, 1.0)])
    policy.reset()
    assert module.mean.tolist() == [0.5, 0.0]
    policy.flat.fill_(torch.nan)
    policy.reset()
    policy.reset()
    assert len(module.given) == 4


def test_it_plays_no_lanes() -> None:
    assert count_lanes(EnvConfig("CartPole-v1"), own()) == 0


def test_what_is_missing_is_said_in_one_line() -> None:
    with pytest.raises(PolicyError, match=r"^policy\.kind: expected observations of random play for NormalisedN.*none"):
        policy_of("salimans2017").reset()
    with pytest.raises(PolicyError, match=r"^policy\.kind: expected a method NoMethod\.refer beside .*, found none$"):
        own(NoMethod)
    with pytest.raises(PolicyError, match=r"^policy\.kind: expected NoNumber\.reference_size .*number, found 'three'$"):
        own(NoNumber)
    with pytest.raises(PolicyError, match=r"^policy\.normalise: expected false for Centred, .*, found true$"):
        own(normalise=True)
    with pytest.raises(PolicyError, match=r"^policy 'salimans2017' needs a Box observation of uint8"):
        policy_of("salimans2017", gymnasium.spaces.Box(-1, 1, (5,), np.float32))
    with pytest.raises(PolicyError, match="int8"):
        make_policy(PolicyConfig("salimans2017", precision="int8"), IMAGE, BUTTONS)
