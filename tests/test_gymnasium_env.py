"""Any environment of Gymnasium's: what its spaces become, wrappers, rewards, and what is refused."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from gadask.config import EnvConfig, Scalar
from gadask.envs import Env, make_env
from gadask.envs.gymnasium_env import GymnasiumEnv
from gadask.errors import EnvError
from gadask.spaces import ChannelsFirst
from tests.test_envs import played, random_actions

pytest.importorskip("ale_py")


class Toy(gymnasium.Env):  # type: ignore[misc]
    """Rewards from a list; the observation counts the steps."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, space: gymnasium.Space, rewards: Any = (1,), actions: Any = None, **kwargs: Any) -> None:
        self.observation_space = space
        self.action_space = actions or gymnasium.spaces.Discrete(2)
        self.rewards = list(rewards)
        self.render_mode = kwargs.get("render_mode")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left = list(self.rewards)
        return self._observed(), {}

    def step(self, action: Any) -> Any:
        reward = self.left.pop(0)
        return self._observed(), reward, not self.left, False, {}

    def render(self) -> Any:
        return np.full((2, 3, 3), 9, np.uint8)

    def _observed(self) -> Any:
        space = self.observation_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return space.start + space.n - 1
        return np.arange(math.prod(space.shape)).reshape(space.shape).astype(space.dtype)


class Reporter(Toy):
    """Its steps give these infos."""

    def __init__(self, infos: list[Any]) -> None:
        super().__init__(SPACES["Vector"], [1] * len(infos))
        self.infos = infos

    def step(self, action: Any) -> Any:
        *rest, _ = super().step(action)
        return *rest, self.infos[-1 - len(self.left)]


def greedy(names: list[str], map: dict[str, Any]) -> Any:
    """Takes from what it is given."""
    names.pop()
    map["rows"].append(names.pop())
    return Toy(SPACES["Vector"])


def double(env: Any) -> Any:
    return gymnasium.wrappers.TransformObservation(env, lambda values: 2 * values, env.observation_space)


def fails(env: Any) -> Any:
    raise ValueError("not this one")


def gives_nothing(env: Any) -> None:
    pass


SPACES = {
    "Discrete": gymnasium.spaces.Discrete(3, start=-1),
    "Vector": gymnasium.spaces.Box(-1, 1, (4,), np.float64),
    "ChannelsLast": gymnasium.spaces.Box(0, 255, (40, 36, 3), np.uint8),
    "ChannelsFirst": gymnasium.spaces.Box(0, 255, (3, 40, 36), np.uint8),
    "Board": gymnasium.spaces.Box(0, 1, (10, 10, 7), np.uint8),
    "Grey": gymnasium.spaces.Box(0, 255, (40, 36), np.uint8),
    "Number": gymnasium.spaces.Box(0, 1, (), np.float32),
    "Table": gymnasium.spaces.Box(0, 1, (4, 4)),
    "Dict": gymnasium.spaces.Dict(x=gymnasium.spaces.Discrete(3)),
}


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toys, and take them back afterwards."""
    module = ModuleType("toy_envs")
    for function in (double, fails, gives_nothing):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "toy_envs", module)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry := dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", registry)
    monkeypatch.setattr("gadask.envs.gymnasium_env.gymnasium.registry", registry)
    for name, space in SPACES.items():
        gymnasium.register(f"toys/{name}-v0", Toy, kwargs={"space": space})
    odd = [1, np.float32(2), np.array([3.0]), True, np.bool_(True), Fraction(1, 2), torch.tensor(3), torch.ones(1)]
    odd += [math.inf, math.nan]
    gymnasium.register("toys/Greedy-v0", greedy)
    gymnasium.register("toys/OddRewards-v0", Toy, kwargs={"space": SPACES["Vector"], "rewards": odd})
    some = gymnasium.spaces.Discrete(3, start=-1)
    gymnasium.register("toys/Actions-v0", Toy, kwargs={"space": SPACES["Vector"], "actions": some})
    many = gymnasium.spaces.MultiDiscrete([2, 2])
    gymnasium.register("toys/ManyActions-v0", Toy, kwargs={"space": SPACES["Vector"], "actions": many})


def toy(name: str, **kwargs: Scalar) -> Env:
    return make_env(EnvConfig(f"toy_envs:toys/{name}-v0", kwargs))


def test_observation_spaces_become_vectors_and_channels_first_images() -> None:
    env = toy("Discrete")
    assert env.observation_space == gymnasium.spaces.Box(0, 1, (3,), np.float32)
    np.testing.assert_array_equal(env.reset(0), [0, 0, 1])
    env = toy("Vector")
    assert env.observation_space == SPACES["Vector"]
    np.testing.assert_array_equal(env.reset(0), np.arange(4.0))
    env = toy("ChannelsLast")
    assert env.observation_space == SPACES["ChannelsFirst"]
    observation = env.reset(0)
    assert env.observation_space.contains(observation)
    np.testing.assert_array_equal(observation, np.moveaxis(np.arange(40 * 36 * 3).reshape(40, 36, 3), 2, 0) % 256)
    assert toy("ChannelsFirst").observation_space == SPACES["ChannelsFirst"]


def test_the_behaviour_is_what_the_last_info_holds() -> None:
    env = toy("Vector")
    env.reset(0)
    env.step(0)
    assert env.behaviour() is None
    reported: list[Any] = [{"behaviour": [9, 9]}, {"behaviour": np.array([1, 0.1])}]
    env = GymnasiumEnv(Reporter(reported))
    env.reset(0)
    env.step(0)
    env.step(0)
    np.testing.assert_array_equal(env.behaviour(), np.array([1, 0.1], np.float32))


@pytest.mark.parametrize("behaviour", [1.0, [[1.0]], [math.nan], "ab"])
def test_a_behaviour_that_is_no_vector_of_numbers_is_refused(behaviour: Any) -> None:
    env = GymnasiumEnv(Reporter([{"behaviour": behaviour}]))
    env.reset(0)
    env.step(0)
    with pytest.raises(EnvError, match=r"^env.id: 'Reporter' \(.*:\d+\): behaviour: expected a vector .*, found .*$"):
        env.behaviour()


def test_channels_are_where_the_config_says() -> None:
    for where, shape in (("auto", (10, 10, 7)), ("first", (10, 10, 7)), ("last", (7, 10, 10))):
        env = make_env(EnvConfig("toy_envs:toys/Board-v0", channels=where))  # type: ignore[arg-type]
        assert env.observation_space.shape == env.reset(0).shape == shape
        assert isinstance(env.observation_space, ChannelsFirst) == (where != "auto")
    for id_ in ("toy_envs:toys/Vector-v0", "ALE/Frostbite-v5"):
        with pytest.raises(EnvError, match=r"env\.channels: expected .* leave it out"):
            make_env(EnvConfig(id_, channels="last"))


def test_pictures_without_channels_and_numbers_without_axes_get_an_axis() -> None:
    env = toy("Grey")
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (1, 40, 36), np.uint8)
    assert env.reset(0).shape == (1, 40, 36)
    env = toy("Number")
    assert env.observation_space == gymnasium.spaces.Box(0, 1, (1,), np.float32)
    np.testing.assert_array_equal(env.reset(0), [0])


def test_wrappers_are_put_around_in_order() -> None:
    names = ("gymnasium.wrappers.FlattenObservation", "toy_envs:double", "toy_envs:double")
    env = make_env(EnvConfig("toy_envs:toys/Table-v0", wrappers=names))
    np.testing.assert_array_equal(env.reset(0), 4 * np.arange(16))


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        ("FlattenObservation", "expected names such as 'gymnasium.wrappers.FlattenObservation'"),
        ("gymnasium.wrappers.FlatenObservation", "no function 'FlatenObservation'; did you mean 'FlattenObservation'"),
        ("no_such:thing", "env.wrappers: no module named 'no_such'; .* current folder.* PYTHONPATH"),
        (
            "toy_envs:fails",
            r"environment: ValueError: not this one \(tests/test_gymnasium_env.py:\d+, in fails\)",
        ),
        ("toy_envs:gives_nothing", r"to return a gymnasium.Env, found None \(NoneType\)"),
    ],
)
def test_a_wrapper_that_cannot_be_is_refused_in_one_line(wrapper: str, message: str) -> None:
    with pytest.raises(EnvError, match=message) as caught:
        make_env(EnvConfig("toy_envs:toys/Table-v0", wrappers=(wrapper,)))
    assert "\n" not in str(caught.value)
    with pytest.raises(EnvError, match="write 'ale_py:ALE/Frostbite-v5'"):
        make_env(EnvConfig("ALE/Frostbite-v5", wrappers=(wrapper,)))


def test_an_environment_cannot_change_its_config() -> None:
    config = EnvConfig("toy_envs:toys/Greedy-v0", {"names": ["a", "b"], "map": {"rows": [[1, 2]]}})
    for _ in range(2):
        make_env(config)
    assert config.kwargs == {"names": ["a", "b"], "map": {"rows": [[1, 2]]}}


def test_any_number_is_a_reward() -> None:
    env = toy("OddRewards")
    env.reset(0)
    steps = [env.step(0) for _ in range(10)]
    np.testing.assert_array_equal([reward for _, reward, _ in steps], [1, 2, 3, 1, 1, 0.5, 3, 1, math.inf, math.nan])
    assert all(type(reward) is float for _, reward, _ in steps)
    assert [done for *_, done in steps] == [False] * 9 + [True]


def test_discrete_actions_are_those_of_the_space() -> None:
    env = toy("Actions")
    assert isinstance(env, GymnasiumEnv)
    seen: list[Any] = []
    env._env.unwrapped.step = seen.append
    env.reset(0)
    with pytest.raises(EnvError, match=r"step: expected \(observation, reward, .*\), found None"):
        env.step(-1)
    assert (type(seen[0]), seen[0]) == (np.int64, -1)
    assert type(env.action_space.sample()) is np.int64


def test_a_gymnasium_episode_is_a_function_of_its_seed() -> None:
    env = make_env(EnvConfig("CartPole-v1"))
    actions = random_actions(env, 50)
    first = played(env, 4, actions)
    assert first[-1][2]
    played(env, 5, actions[:3])
    assert played(env, 4, actions) == first
    assert played(env, 5, actions) != first
    env.close()


def test_truncation_ends_the_episode() -> None:
    env = make_env(EnvConfig("MountainCar-v0", {"max_episode_steps": 7}))
    env.reset(0)
    assert [env.step(1)[2] for _ in range(7)] == [False] * 6 + [True]


def test_rendering_needs_its_mode() -> None:
    env = toy("Vector", render_mode="rgb_array")
    env.reset(0)
    assert (env.render() == 9).all()
    with pytest.raises(EnvError, match=r"env\.kwargs\.render_mode: expected 'rgb_array'"):
        toy("Vector").render()


@pytest.mark.parametrize(
    ("id_", "kwargs", "message"),
    [
        ("ALE/Frostbit-v5", {}, "did you mean 'ALE/Frostbite-v5'"),
        ("ALE/Frostbite-v4", {}, "did you mean 'ALE/Frostbite-v5'"),
        ("ALE/frostbite", {}, "expected a game of ale-py, found 'ALE/frostbite'"),
        ("ALE/Frostbite-v5", {"noop": 3}, "unknown key 'noop' for an Atari game; did you mean 'noop_max'"),
        ("ALE/Frostbite-v5", {"xyz": 3}, "expected one of frameskip, maxpool"),
        ("ALE/Frostbite-v5", {"frameskip": 0}, "env.kwargs.frameskip: expected at least 1, found 0"),
        ("ALE/Frostbite-v5", {"frameskip": True}, "env.kwargs.frameskip: expected int, found True"),
        ("ALE/Frostbite-v5", {"maxpool": 1}, "env.kwargs.maxpool: expected bool, found 1"),
        ("ALE/Frostbite-v5", {"repeat_action_probability": 1.5}, "env.kwargs.repeat_action_probability"),
        ("CartPol-v1", {}, "found 'CartPol-v1'; did you mean 'CartPole-v1'"),
        ("CartPole-v77", {}, "did you mean 'CartPole-v1'"),
        ("nowhere/At-all-v0", {}, "'package.module:Name-v0' imports"),
        (
            "no_such_module:Name-v0",
            {},
            "no module named 'no_such_module'; .* current folder.* PYTHONPATH",
        ),
        ("BreakoutNoFrameskip-v4", {}, "expected 'ALE/Breakout-v5', found 'BreakoutNoFrameskip-v4'"),
        ("Breakout-v4", {}, "expected 'ALE/Breakout-v5'"),
        ("Breakout-ramDeterministic-v0", {}, "expected 'ALE/Breakout-v5'"),
        ("ALE/Breakout-v4", {}, "did you mean 'ALE/Breakout-v5'"),
        ("CartPole-v1", {"gravity": 3}, "cannot make 'CartPole-v1': TypeError: .*gravity"),
        ("toy_envs:toys/Table-v0", {}, r"must be a Discrete or a Box of 1 or 3 axes, found Box\("),
        ("toy_envs:toys/Dict-v0", {}, "observations of 'toys/Dict-v0' must be .* found Dict"),
        ("toy_envs:toys/ManyActions-v0", {}, "actions of 'toys/ManyActions-v0' must be .* found MultiDiscrete"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(id_: str, kwargs: dict[str, Scalar], message: str) -> None:
    with pytest.raises(EnvError, match=message) as caught:
        make_env(EnvConfig(id_, kwargs))
    assert "\n" not in str(caught.value)
