"""What an environment gives is what it announced, whoever asks: at the policies' doors and at the kernels'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from gadask.config import PolicyConfig
from gadask.contract import Announced, AnnouncedBehaviour, AnnouncedNumber, behaviour_of
from gadask.errors import EnvError, GadaskError, PolicyError
from gadask.policies import LanePolicy, Policy, make_policy
from gadask.policies.kernels import instruction_set

IMAGE = Box(0, 255, (4, 84, 84), np.uint8)
RNG = np.random.default_rng(0)


def policy_of(kind: str, space: Box, precision: str = "float32", **kwargs: str) -> Policy:
    policy = make_policy(PolicyConfig(kind, dict(kwargs), precision), space, Discrete(6))  # type: ignore[arg-type]
    policy.initialise(policy.flat.new_tensor(RNG.standard_normal(policy.n_params, np.float32)))
    policy.reset()
    return policy


def test_what_is_as_announced_is_not_copied() -> None:
    fit = Announced(np.dtype(np.float32), (3,))
    given = np.zeros(3, np.float32)
    assert fit(given) is given
    for other in ([0, 0, 0], given[::-1], given.astype(">f4"), given.astype(np.float64), (True, 0.0, 0)):
        found = fit(other)
        assert found is not other
        assert found.dtype == np.float32
        assert found.shape == (3,)
        assert found.flags.carray


@pytest.mark.parametrize("given", [[1, 2.5], (True, 2), torch.tensor([1.0, 2.5]), np.array([1, 2.5], ">f8")[::-1]])
def test_a_vector_of_numbers_is_a_behaviour(given: Any) -> None:
    behaviour = behaviour_of(given)
    assert behaviour.dtype == np.float32
    assert behaviour.flags.carray
    np.testing.assert_array_equal(behaviour, np.asarray(given, np.float32))


@pytest.mark.parametrize(
    "given",
    [1.0, "ab", ["a", "b"], [], [[1.0]], [1.0, [2.0]], [1.0, np.nan], [np.inf], [1e39], {"x": 1.0}, np.zeros((2, 1))],
)
def test_nothing_else_is_a_behaviour(given: object) -> None:
    with pytest.raises(EnvError, match=r"^behaviour: expected a vector of finite numbers, found .*$"):
        behaviour_of(given)


def test_a_behaviour_is_as_long_as_the_rehearsals() -> None:
    fit = AnnouncedBehaviour("Maze-v0", 2)
    given = np.ones(2, np.float32)
    assert fit(given) is given
    for other, found in ((None, "none"), (np.ones(3, np.float32), "3")):
        with pytest.raises(EnvError, match=f"'Maze-v0': behaviour: expected 2 numbers, .* found {found}$"):
            fit(other)


@pytest.mark.parametrize(
    ("dtype", "given", "fits"),
    [
        (np.uint8, np.array([0, 255]), True),
        (np.uint8, np.array([0, 256]), False),
        (np.uint8, np.array([-1, 0]), False),
        (np.uint8, np.array([0.0, 1.0]), False),
        (np.uint8, np.array([True, False]), True),
        (np.int64, np.array([0, 2**63], np.uint64), False),
        (np.bool_, np.array([0, 1]), True),
        (np.bool_, np.array([0, 2]), False),
        (np.float32, np.array([1, 2]), True),
        (np.float32, np.array([1 + 1j, 0]), False),
        (np.float32, np.array(["1", "2"]), False),
        (np.float32, np.array([1.0, None]), False),
    ],
)
def test_no_value_is_lost_in_a_cast(dtype: type[np.generic], given: NDArray[np.generic], fits: bool) -> None:
    fit = Announced(np.dtype(dtype), (2,))
    if fits:
        np.testing.assert_array_equal(fit(given), given)
    else:
        with pytest.raises(EnvError, match=rf"expected {np.dtype(dtype)} of shape \(2,\) as its space says, found "):
            fit(given)


@pytest.mark.parametrize("shape", [(4,), (40,), (3, 8, 8)])
def test_nan_is_found_anywhere_and_infinity_is_a_value(shape: tuple[int, ...]) -> None:
    fit = Announced(np.dtype(np.float32), shape)
    for place in range(int(np.prod(shape))):
        given = RNG.standard_normal(shape).astype(np.float32) * np.float32(1e37)
        given.reshape(-1)[[place - 1, place - 2]] = np.inf, -np.inf
        assert fit(given) is given
        given.reshape(-1)[place] = np.nan
        with pytest.raises(EnvError, match=r"found nan at \[.*\], in 1 of"):
            fit(given)


def test_a_number_below_the_first_is_not_another_state() -> None:
    fit = AnnouncedNumber(5, 4)
    for place, number in enumerate((5, np.int32(6), np.array([7]), 8.0, np.array(8))):
        assert fit(number).argmax() == min(place, 3)
    for wrong in (4, 9, -1, 6.5, None, "6", np.array([5, 6]), float("inf")):
        with pytest.raises(EnvError, match="expected a whole number from 5 to 8 as its space says, found"):
            fit(wrong)


WRONG: dict[str, NDArray[np.generic]] = {
    "float32": np.zeros((4, 84, 84), np.float32),
    "float32 of fewer bytes": np.zeros((4, 21, 84), np.float32),
    "smaller": np.zeros((4, 20, 20), np.uint8),
    "flat": np.zeros(4 * 84 * 84, np.uint8),
    "channels last": np.zeros((84, 84, 4), np.uint8),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("kind", "precision"), [("such2017", "float32"), ("nature", "int8"), ("conv-gru", "float32")])
def test_pictures_that_are_not_as_announced_are_not_read(kind: str, precision: str, wrong: str) -> None:
    policy = policy_of(kind, IMAGE, precision)
    with pytest.raises(GadaskError, match=r"expected uint8 of shape \(4, 84, 84\).*, found "):
        policy.act(WRONG[wrong])


@pytest.mark.parametrize("wrong", WRONG)
def test_kernels_look_for_themselves(wrong: str) -> None:
    if instruction_set() is None:
        pytest.skip("the kernels are not compiled")
    network = policy_of("nature", IMAGE)._compiled
    assert network is not None
    with pytest.raises(PolicyError, match=r"expected uint8 of shape \(4, 84, 84\), found "):
        network(WRONG[wrong])


@pytest.mark.parametrize("kind", ["such2017", "nature", "conv-gru"])
def test_strides_change_nothing(kind: str) -> None:
    policy = policy_of(kind, IMAGE)
    turned = RNG.integers(0, 256, IMAGE.shape, np.uint8)[:, ::-1, ::-1]
    expected = policy.output(np.ascontiguousarray(turned)).copy()
    policy.reset()
    np.testing.assert_array_equal(policy.output(turned), expected)


@pytest.mark.parametrize("actions", ["argmax", "sampled"])
def test_outputs_that_are_no_numbers_choose_no_action(actions: str) -> None:
    space = Box(-1, 1, (4,), np.float32)
    policy = make_policy(PolicyConfig("mlp", {"hidden": "", "actions": actions}), space, Discrete(3))
    policy.flat.fill_(float("nan"))
    policy.reset(np.random.default_rng(0))
    with pytest.raises(PolicyError, match=r"expected outputs that are numbers, found \[nan, nan, nan\]"):
        policy.act(np.zeros(4, np.float32))
    policy.flat.fill_(3e38)  # which sums to infinity
    if actions == "sampled":
        with pytest.raises(PolicyError, match=r"expected outputs that are numbers, found .*inf"):
            policy.act(np.ones(4, np.float32))
    else:
        assert policy.act(np.ones(4, np.float32)) == 0


@pytest.mark.parametrize("actions", ["argmax", "uniform:5", "uniform:50"])
def test_outputs_that_are_no_numbers_are_no_continuous_action(actions: str) -> None:
    spaces = Box(-1, 1, (4,), np.float32), Box(-1, 1, (2,), np.float32)
    policy = make_policy(PolicyConfig("mlp", {"hidden": "", "actions": actions}), *spaces)
    policy.flat.zero_()
    policy.flat[-1] = float("nan")  # the last output's bias
    policy.reset()
    with pytest.raises(PolicyError, match="expected outputs that are numbers, found"):
        policy.act(np.zeros(4, np.float32))


def test_lanes_take_what_was_announced_only() -> None:
    policy = policy_of("mlp", Box(-1, 1, (4,), np.float32))
    lanes = LanePolicy(policy, 3)
    lanes.act(np.zeros((3, 4), np.float32))
    for wrong in (np.zeros((3, 1), np.float32), np.zeros((1, 4), np.float32), np.zeros((3, 4), np.complex64)):
        with pytest.raises(PolicyError, match=r"observations: expected float32 of shape \(3, 4\), found"):
            lanes.act(wrong)
