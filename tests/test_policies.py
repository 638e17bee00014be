"""Policies: sizes, initial scales, one flat vector, and equality with plain reference networks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from gadask.config import Scalar
from gadask.errors import PolicyError
from gadask.policies import LanePolicy, Policy
from gadask.policies.initial import Layer, layers_of
from tests.small_policies import BUTTONS, IMAGE, VECTOR, noise_for, policy_of, real_frames

SIZES = [("such2017", 4_052_658), ("nature", 1_693_362)]


def same_padding(image: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Pad as TensorFlow's SAME does."""
    size = image.shape[-1]
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return functional.pad(image, (total // 2, total - total // 2) * 2)


def reference_output(
    parameters: Mapping[str, torch.Tensor], frame: NDArray[np.uint8], same: bool, relu: bool
) -> torch.Tensor:
    """Compute the network as the paper writes it, from the stored matrices."""
    channels = frame.shape[0]
    first = parameters["conv1"][:-1].T.reshape(
        32, 2, 2, channels, 4, 4
    )  # block row, block column, channel, row, column
    kernels = [
        (first.permute(0, 3, 1, 4, 2, 5).reshape(32, channels, 8, 8), 4),
        (parameters["conv2"][:-1].T.reshape(64, 4, 4, 32).permute(0, 3, 1, 2), 2),
        (parameters["conv3"][:-1].T.reshape(64, 3, 3, 64).permute(0, 3, 1, 2), 1),
    ]
    image = torch.from_numpy(frame)[None].double() / 255
    for (kernel, stride), name in zip(kernels, ("conv1", "conv2", "conv3"), strict=True):
        if same:
            image = same_padding(image, kernel.shape[-1], stride)
        image = functional.conv2d(image, kernel.double(), parameters[name][-1].double(), stride=stride)
        if relu:
            image = functional.relu(image)
    features = image.permute(0, 2, 3, 1).reshape(1, -1)
    dense, output = parameters["dense"].double(), parameters["output"].double()
    hidden = functional.relu(functional.linear(features, dense[:-1].T, dense[-1]))
    return functional.linear(hidden, output[:-1].T, output[-1])


@pytest.mark.parametrize(("kind", "size"), SIZES)
def test_parameter_counts_are_the_published_ones(kind: str, size: int) -> None:
    policy = policy_of(kind)
    assert policy.n_params == size
    assert policy.flat.shape == (size,)


@pytest.mark.parametrize("conv_activation", [True, False])
@pytest.mark.parametrize("kind", ["such2017", "nature"])
def test_output_equals_the_reference_network(kind: str, conv_activation: bool) -> None:
    policy = policy_of(kind, conv_activation=conv_activation)
    policy.initialise(noise_for(policy))
    policy.flat.add_(noise_for(policy, seed=1), alpha=0.01)  # biases are not zero any more
    policy.reset()
    parameters = dict(policy.module.named_parameters())
    for frame in real_frames():
        expected = reference_output(parameters, frame, kind == "such2017", conv_activation).numpy()
        found = policy.output(frame)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
        assert policy.act(frame) == int(expected.argmax())


@pytest.mark.parametrize("shape", [(1, 36, 37), (3, 96, 90), (4, 83, 85)])
@pytest.mark.parametrize("kind", ["such2017", "nature"])
def test_other_image_sizes_equal_the_reference_network(kind: str, shape: tuple[int, int, int]) -> None:
    if kind == "such2017" and shape[1] != shape[2]:
        shape = (shape[0], shape[1], shape[1])  # the reference pads squares
    policy = policy_of(kind, gymnasium.spaces.Box(0, 255, shape, np.uint8))
    policy.initialise(noise_for(policy))
    frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = reference_output(dict(policy.module.named_parameters()), frame, kind == "such2017", relu=True).numpy()
    np.testing.assert_allclose(policy.output(frame), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["such2017", "nature"])
def test_same_weights_give_the_same_bits_whatever_was_computed_between(kind: str) -> None:
    policy, other = policy_of(kind), policy_of(kind)
    frames = real_frames()
    policy.initialise(noise_for(policy))
    before = [policy.output(frame).copy() for frame in frames]
    policy.initialise(noise_for(policy, seed=1))
    assert not np.array_equal(policy.output(frames[0]), before[0])
    policy.initialise(noise_for(policy))
    other.flat.copy_(policy.flat)
    other.reset()
    for frame, expected in reversed(list(zip(frames, before, strict=True))):
        np.testing.assert_array_equal(policy.output(frame), expected)
        np.testing.assert_array_equal(other.output(frame), expected)


def test_dead_and_nonfinite_features_are_not_an_error() -> None:
    policy = policy_of("nature")
    frame = np.full((4, 84, 84), 7, np.uint8)
    policy.flat.zero_()
    policy.reset()
    assert not policy.output(frame).any()
    policy.flat.fill_(torch.nan)
    policy.reset()
    assert np.isnan(policy.output(frame)).all()


@pytest.mark.parametrize("kind", ["such2017", "nature"])
def test_fan_in_scales(kind: str) -> None:
    policy = policy_of(kind)
    policy.initialise(noise_for(policy))
    fan_ins = [4 * 8 * 8, 32 * 4 * 4, 64 * 3 * 3, {"such2017": 7744, "nature": 3136}[kind], 512]
    factors = [1, 1, 1, 1, 0.1]
    for layer, fan_in, factor in zip(layers_of(policy.module), fan_ins, factors, strict=True):
        assert layer.fan_in == fan_in
        assert layer.weight.std().item() == pytest.approx(factor * fan_in**-0.5, rel=0.03)
        assert not layer.constants[0][0].any()


@pytest.mark.parametrize(("kind", "space"), [("such2017", IMAGE), ("nature", IMAGE), ("mlp", VECTOR)])
def test_unit_norm_scales(kind: str, space: gymnasium.Space) -> None:
    policy = policy_of(kind, space, initial="unit-norm")
    policy.initialise(noise_for(policy))
    n_biases = 0
    for layer in layers_of(policy.module):
        for bias, value in layer.constants:
            assert value == 0
            assert not bias.any()
            n_biases += bias.numel()
        if layer.weight.numel():
            norms = torch.linalg.vector_norm(layer.weight, dim=1 - layer.output_axis)
            torch.testing.assert_close(norms, torch.ones_like(norms))
    assert n_biases == {"such2017": 690, "nature": 690, "mlp": 64 + 64 + 18}[kind]


def test_layers_hold_every_parameter_once() -> None:
    policy = policy_of("nature")
    policy.flat.zero_()
    for layer in layers_of(policy.module):
        layer.weight.add_(1)
        for constant, _ in layer.constants:
            constant.add_(1)
    assert bool((policy.flat == 1).all())


@pytest.mark.parametrize(("kind", "space"), [("such2017", IMAGE), ("mlp", VECTOR)])
def test_parameters_are_views_of_the_flat_vector(kind: str, space: gymnasium.Space) -> None:
    policy = policy_of(kind, space)
    assert policy.flat.dtype == torch.float32
    assert policy.flat.is_contiguous()
    torch.add(torch.zeros(policy.n_params), torch.arange(policy.n_params), alpha=0.5, out=policy.flat)
    offset = 0
    for parameter in policy.module.parameters():
        assert parameter.data_ptr() == policy.flat.data_ptr() + 4 * offset
        assert parameter.view(-1)[-1] == 0.5 * (offset + parameter.numel() - 1)
        offset += parameter.numel()
    assert offset == policy.n_params


@settings(max_examples=20, deadline=None)
@given(hidden=st.lists(st.integers(1, 9), max_size=3), seed=st.integers(0, 2**31))
def test_mlp_equals_the_reference_network(hidden: list[int], seed: int) -> None:
    policy = policy_of("mlp", VECTOR, gymnasium.spaces.Discrete(3, start=2), hidden=",".join(map(str, hidden)))
    policy.initialise(noise_for(policy, seed))
    policy.flat.add_(noise_for(policy, seed + 1), alpha=0.1)
    observation = np.random.default_rng(seed).normal(size=5)
    parameters = [parameter.double().numpy() for parameter in policy.module.parameters()]
    value = observation
    for layer in range(len(hidden) + 1):
        value = parameters[2 * layer] @ value + parameters[2 * layer + 1]
        if layer < len(hidden):
            value = np.tanh(value)
    np.testing.assert_allclose(policy.output(observation)[0], value, rtol=1e-4, atol=1e-5)
    assert policy.act(observation) == 2 + int(policy.output(observation).argmax())


def test_mlp_has_two_hidden_layers_of_64_by_default() -> None:
    policy = policy_of("mlp", VECTOR, gymnasium.spaces.Discrete(2))
    assert [tuple(parameter.shape) for parameter in policy.module.parameters()] == [
        *((64, 5), (64,)),
        *((64, 64), (64,)),
        *((2, 64), (2,)),
    ]


class Everything(nn.Module):
    """One layer of each kind that has its own initial scale."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 5, 2)
        self.cell = nn.GRUCell(20, 10)
        self.look_up = nn.Embedding(30, 10)
        self.last = nn.Linear(20, 3)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        assert observation.shape == (1, 1, 4, 3)
        assert observation.dtype == torch.float32
        assert float(observation.max()) <= 1
        image = self.up(self.norm(self.conv(observation)))
        state = self.cell(image.mean((2, 3)).repeat(1, 4))
        result: torch.Tensor = self.last(torch.cat([state, self.look_up(torch.tensor([0]))], 1))
        return result


FACTORIES = ModuleType("policy_factories")
FACTORIES.everything = lambda observation_space, action_space: Everything()  # type: ignore[attr-defined]
FACTORIES.linear = lambda observation_space, action_space, width=3: nn.Linear(5, width)  # type: ignore[attr-defined]
FACTORIES.lazy = lambda observation_space, action_space: nn.LazyLinear(3)  # type: ignore[attr-defined]
FACTORIES.double = lambda observation_space, action_space: nn.Linear(5, 3).double()  # type: ignore[attr-defined]
FACTORIES.empty = lambda observation_space, action_space: nn.Tanh()  # type: ignore[attr-defined]
FACTORIES.nothing = lambda observation_space, action_space: None  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "policy_factories", FACTORIES)


def test_a_factory_of_ones_own_gets_scales_by_type_of_layer() -> None:
    policy = policy_of(
        "policy_factories:everything", gymnasium.spaces.Box(0, 255, (1, 4, 3), np.uint8), gymnasium.spaces.Discrete(3)
    )
    noise = noise_for(policy)
    policy.initialise(noise)
    scales = {
        **{"conv.weight": 9**-0.5, "up.weight": (6 * 4) ** -0.5, "look_up.weight": 1.0},
        **{"cell.weight_ih": 20**-0.5, "cell.weight_hh": 10**-0.5, "last.weight": 0.1 * 20**-0.5},
    }
    offset = 0
    for name, parameter in policy.module.named_parameters():
        if name in scales:
            part = noise[offset : offset + parameter.numel()].view(parameter.shape)
            torch.testing.assert_close(parameter.data, part * scales[name])
        else:
            assert bool((parameter == (1 if name == "norm.weight" else 0)).all())
        offset += parameter.numel()
    assert policy.act(np.full((1, 4, 3), 255, np.uint8)) in range(3)


def test_a_module_may_state_its_layers_itself() -> None:
    class Stated(nn.Linear):
        def layers(self) -> list[Layer]:
            return [Layer(self.weight.data, 100, 0, ((self.bias.data, 2.0),))]

    policy = Policy(Stated(5, 3), VECTOR, gymnasium.spaces.Discrete(3))
    noise = noise_for(policy)
    policy.initialise(noise)
    torch.testing.assert_close(policy.flat, torch.cat([noise[:15] / 10, torch.full((3,), 2.0)]))


class Counter(nn.Module):
    """A module with memory: its output is how many observations it has seen, its state a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def initial_state(self) -> int:
        return 0

    def forward(self, observation: torch.Tensor, state: int) -> tuple[torch.Tensor, int]:
        return torch.eye(4)[None, state % 4] * self.weight, state + 1


def test_a_module_of_ones_own_may_remember() -> None:
    policy = Policy(Counter(), VECTOR, gymnasium.spaces.Discrete(4))
    policy.flat.fill_(1)
    value = np.zeros(5, np.float32)
    for n_steps in (3, 5):
        policy.reset()
        assert [policy.act(value) for _ in range(n_steps)] == [step % 4 for step in range(n_steps)]


@settings(max_examples=15, deadline=None)
@given(hidden=st.lists(st.integers(1, 9), max_size=3), n_lanes=st.integers(1, 5), box=st.booleans())
def test_each_lane_plays_its_own_mlp(hidden: list[int], n_lanes: int, box: bool) -> None:
    bounds = np.array([[[-2, 0]], [[4, np.inf]]], np.float32)
    space = gymnasium.spaces.Box(*bounds, dtype=np.float32)
    kwargs = {"hidden": ",".join(map(str, hidden))}
    singles = [policy_of("mlp", VECTOR, space if box else BUTTONS, **kwargs) for _ in range(n_lanes)]
    lanes = LanePolicy(singles[0], n_lanes)
    for lane, single in enumerate(singles):
        single.initialise(noise_for(single, lane))
        single.flat.add_(noise_for(single, lane + 50), alpha=0.3)
        lanes.rows[lane].copy_(single.flat)
        lanes.reset(lane)
    values = np.random.default_rng(0).standard_normal((n_lanes, 5))
    actions = lanes.act(values)
    expected = np.concatenate([single.output(value) for single, value in zip(singles, values, strict=True)])
    np.testing.assert_allclose(lanes.outputs, expected, rtol=1e-4, atol=1e-5)
    for action, single, value in zip(actions, singles, values, strict=True):
        np.testing.assert_allclose(action, np.asarray(single.act(value)), rtol=1e-4, atol=1e-5)


def test_lanes_see_bytes_as_modules_do() -> None:
    policy = policy_of("mlp", gymnasium.spaces.Box(0, 255, (128,), np.uint8), BUTTONS)
    lanes = LanePolicy(policy, 3)
    policy.initialise(noise_for(policy))
    for row in lanes.rows:
        row.copy_(policy.flat)
    frames = np.random.default_rng(0).integers(0, 256, (3, 128), np.uint8)
    lanes.act(frames)
    expected = np.concatenate([policy.output(frame) for frame in frames])
    np.testing.assert_allclose(lanes.outputs, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "kwargs", "observation_space", "action_space", "message"),
    [
        ("such2017", {}, VECTOR, BUTTONS, r"'such2017' needs a Box observation of uint8, or .*\(4, 84, 84\).*'mlp'"),
        ("nature", {}, gymnasium.spaces.Box(-1, 1, (4, 84, 84)), BUTTONS, "'nature' needs .* float32 from 0"),
        ("nature", {}, gymnasium.spaces.Box(0, 255, (4, 84, 20), np.uint8), BUTTONS, "at least 36"),
        ("nature", {}, gymnasium.spaces.Box(0, 255, (84, 84, 9), np.uint8), BUTTONS, 'add channels = "last" under'),
        ("conv-gru", {}, gymnasium.spaces.Box(0, 1, (10, 10, 7)), BUTTONS, r"\(10, 10, 7\) holds channels; add"),
        ("mlp", {}, IMAGE, BUTTONS, "'mlp' needs a Box observation of one axis.*'such2017'"),
        ("mlp", {}, VECTOR, gymnasium.spaces.MultiBinary(3), "expected a Discrete or Box action space, found Multi"),
        ("such", {}, IMAGE, BUTTONS, "found 'such'; did you mean 'such2017'"),
        (
            "transformer",
            {},
            IMAGE,
            BUTTONS,
            "expected 'such2017', 'nature', 'salimans2017', .* or 'package.module:factory'",
        ),
        ("mlp", {"hiden": "8"}, VECTOR, BUTTONS, "unknown key 'hiden' for policy 'mlp'; did you mean 'hidden'"),
        ("mlp", {"hidden": "8;8"}, VECTOR, BUTTONS, "policy.kwargs.hidden: expected .*'64,64', found '8;8'"),
        ("mlp", {"hidden": "8,-1"}, VECTOR, BUTTONS, "policy.kwargs.hidden: expected"),
        ("nature", {"initial": "he"}, IMAGE, BUTTONS, "policy.kwargs.initial: expected one of 'fan-in'.*found 'he'"),
        ("nature", {"conv_activation": 3}, IMAGE, BUTTONS, "policy.kwargs.conv_activation: expected true or false"),
        ("mlp", {"actions": "softmax"}, VECTOR, BUTTONS, "such as 'uniform:5', found 'softmax'"),
        ("mlp", {"actions": "uniform:1"}, VECTOR, BUTTONS, "such as 'uniform:5', found 'uniform:1'"),
        ("mlp", {"actions": "uniform:5"}, VECTOR, BUTTONS, "expected a bounded Box action space for 'uniform:5'"),
        ("mlp", {"actions": "sampled"}, VECTOR, VECTOR, "actions: expected 'argmax' for .*only Discrete actions"),
        ("mlp", {"action": "sampled"}, VECTOR, BUTTONS, "unknown key 'action' .*did you mean 'actions'"),
        ("no_such_module:f", {}, VECTOR, BUTTONS, "no module named 'no_such_module'; .* PYTHONPATH"),
        ("policy_factories:linaer", {}, VECTOR, BUTTONS, "has no function 'linaer'; did you mean 'linear'"),
        ("policy_factories:linear", {"depth": 3}, VECTOR, BUTTONS, "unknown key 'depth' .*did you mean 'width'"),
        ("policy_factories:linear", {"width": 4}, VECTOR, BUTTONS, r"return 18 numbers .* found shape \(1, 4\)"),
        ("policy_factories:linear", {}, IMAGE, BUTTONS, "Linear does not take an observation of Box"),
        ("policy_factories:nothing", {}, VECTOR, BUTTONS, "return a torch.nn.Module, found NoneType"),
        ("policy_factories:empty", {}, VECTOR, BUTTONS, "Tanh has no parameters"),
        ("policy_factories:double", {}, VECTOR, BUTTONS, "expected float32 parameters, found torch.float64"),
        ("policy_factories:lazy", {}, VECTOR, BUTTONS, "LazyLinear.weight has no shape yet"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    kind: str,
    kwargs: dict[str, Scalar],
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    message: str,
) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        policy_of(kind, observation_space, action_space, **kwargs)
    assert "\n" not in str(caught.value)
