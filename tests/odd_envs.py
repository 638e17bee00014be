"""Environments with one oddity each, as people have them: `tests.odd_envs:Name-v0`.

`PLAYED` follow Gymnasium's interface, however oddly; `REFUSED` break it, and hold what is said of them. An episode is
20 steps of noise; the reward says whether the action was 1.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from decimal import Decimal
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

FLATTEN = "gymnasium.wrappers.FlattenObservation"
PICTURE = Box(0, 255, (84, 84, 3), np.uint8)

PLAYED: dict[str, dict[str, Any]] = {}
"""Tables of a config, by name."""
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {}
"""What the error says, and tables of a config, by name."""


class Odd(gymnasium.Env):  # type: ignore[misc]
    """What is not odd."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012
    observation_space: Any = Box(-10, 10, (4,), np.float32)
    action_space: Any = Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.observe(), self.reward(action), self.t >= 20, False, {}

    def observe(self) -> Any:
        return self.np_random.normal(size=4).astype(np.float32)

    def reward(self, action: Any) -> Any:
        return float(np.sum(action) == 1)


def counted(env: Any) -> Any:
    """Wrap: prints nothing, changes nothing."""
    return gymnasium.Wrapper(env)


def _register(name: str, **attributes: Any) -> None:
    """Register an environment that differs from `Odd` in these."""
    made = type(name, (Odd,), {"__module__": __name__, **attributes})
    globals()[name] = made
    gymnasium.register(f"{name}-v0", made)


def _played(name: str, env: dict[str, Any] | None = None, policy: str = "mlp", **attributes: Any) -> None:
    PLAYED[name] = {"env": env or {}, "policy": {"kind": policy}}
    _register(name, **attributes)


def _refused(name: str, says: str, env: dict[str, Any] | None = None, policy: str = "mlp", **attributes: Any) -> None:
    REFUSED[name] = says, {"env": env or {}, "policy": {"kind": policy}}
    _register(name, **attributes)


def _noise(shape: tuple[int, ...] | int = 4, dtype: Any = np.float32) -> Any:
    return lambda self: self.np_random.normal(size=shape).astype(dtype)


def _bytes(*shape: int, high: int = 256) -> Any:
    return lambda self: self.np_random.integers(0, high, shape, np.uint8)


def _turned(view: Any, *shape: int) -> Any:
    return lambda self: view(self.np_random.integers(0, 256, shape, np.uint8))


def _contains(self: Odd, action: Any) -> float:
    assert self.action_space.contains(action), action
    assert type(action) in (np.ndarray, np.int64), type(action)
    return float(np.sum(action))


# Observations

_played("ListObservation", observe=lambda self: [0.1, 0.2, 0.3, self.np_random.random()])
_played("TupleOfInts", observe=lambda self: (1, 2, True, int(self.np_random.integers(9))))
_played("TensorObservation", observe=lambda self: torch.from_numpy(self.np_random.normal(size=4)))
_played("Float64", observation_space=Box(-np.inf, np.inf, (4,), np.float64), observe=_noise(dtype=np.float64))
_played("Float64ForFloat32", observe=_noise(dtype=np.float64))
_played("Float16", observation_space=Box(-9, 9, (4,), np.float16), observe=_noise(dtype=np.float16))
_played("BigEndian", observe=_noise(dtype=">f4"))
_played("Reversed", observe=lambda self: self.np_random.normal(size=4).astype(np.float32)[::-1])
_played("EverySecond", observe=lambda self: self.np_random.normal(size=8).astype(np.float32)[::2])
_played(
    "ReadOnly", observe=lambda self: np.frombuffer(self.np_random.normal(size=4).astype(np.float32).tobytes(), "f4")
)
_played("Matrix", observe=lambda self: np.ma.masked_array(self.np_random.normal(size=4).astype(np.float32)))
_played("Infinite", observe=lambda self: np.array([np.inf, 1, 0, self.np_random.random()], np.float32))
_played("Large", observe=lambda self: np.full(4, 1e38, np.float32))
_played("Scalar", observation_space=Box(0, 1, (1,)), observe=lambda self: self.np_random.random())
_played("NoAxes", observation_space=Box(0, 1, (), np.float32), observe=lambda self: self.np_random.random())
_played("Booleans", observation_space=Box(0, 1, (6,), bool), observe=lambda self: self.np_random.integers(0, 2, 6) > 0)
_played(
    "Words",
    observation_space=Box(0, 65535, (6,), np.uint16),
    observe=lambda self: self.np_random.integers(0, 65535, 6).astype(np.uint16),
)
_played(
    "IntsThatFit", observation_space=Box(0, 9, (6,), np.uint8), observe=lambda self: self.np_random.integers(0, 9, 6)
)
_played("FromFive", observation_space=Discrete(4, start=5), observe=lambda self: self.np_random.integers(5, 9))
_played("ArrayOfOne", observation_space=Discrete(4), observe=lambda self: np.array(self.np_random.integers(4)))
_played(
    "ChannelsReversed", policy="nature", observation_space=PICTURE, observe=_turned(lambda x: x[:, :, ::-1], 84, 84, 3)
)
_played("UpsideDown", policy="such2017", observation_space=PICTURE, observe=_turned(np.flipud, 84, 84, 3))
_played("UpsideDownInTorch", policy="conv-gru", observation_space=PICTURE, observe=_turned(np.flipud, 84, 84, 3))
_played("Grey", policy="conv-gru", observation_space=Box(0, 255, (20, 20), np.uint8), observe=_bytes(20, 20))
_played(
    "BoardLast",
    {"channels": "last"},
    "conv-gru",
    observation_space=Box(0, 1, (10, 10, 7), np.uint8),
    observe=_bytes(10, 10, 7, high=2),
)
_played("Nine", policy="conv-gru", observation_space=Box(0, 255, (9, 20, 20), np.uint8), observe=_bytes(9, 20, 20))
_played(
    "Pair",
    {"wrappers": [FLATTEN]},
    observation_space=Dict(a=Box(0, 1, (2,)), b=Discrete(3)),
    observe=lambda self: {"a": self.np_random.random(2, np.float32), "b": self.np_random.integers(3)},
)
_played(
    "Both",
    {"wrappers": [FLATTEN, "tests.odd_envs:counted"]},
    observation_space=Tuple((MultiDiscrete([3, 4]), MultiBinary(5))),
    observe=lambda self: (self.np_random.integers([3, 4]), self.np_random.integers(0, 2, 5, np.int8)),
)
_played("Wide", observation_space=Box(-1, 1, (30_000,)), observe=lambda self: np.full(30_000, self.t / 20, np.float32))

_refused(
    "OppositeInfinities",
    "expected outputs that are numbers, found [nan, nan, nan] (list) for the observation array([ inf, -inf,",
    observe=lambda self: np.array([np.inf, -np.inf, np.inf, 0], np.float32),
)
_refused(
    "PicturesOfFloats",
    "expected uint8 of shape (4, 84, 84) as its space says, found float32 of shape (4, 84, 84) from 0.0 to 25",
    policy="such2017",
    observation_space=Box(0, 255, (4, 84, 84), np.uint8),
    observe=lambda self: self.np_random.integers(0, 256, (4, 84, 84)).astype(np.float32),
)
_refused(
    "SmallerPictures",
    "expected uint8 of shape (84, 84, 3) as its space says, found uint8 of shape (80, 80, 3) from 0 to 25",
    policy="nature",
    observation_space=PICTURE,
    observe=_bytes(80, 80, 3),
)
_refused(
    "FiveForFour", "expected float32 of shape (4,) as its space says, found float32 of shape (5,)", observe=_noise(5)
)
_refused("OneForFour", "expected float32 of shape (4,) as its space says, found float of", observe=lambda self: 0.5)
_refused("ColumnForRow", "found float32 of shape (4, 1)", observe=_noise((4, 1)))
_refused(
    "IntsTooLarge",
    "found int64 of shape (4,)",
    observation_space=Box(0, 255, (4,), np.uint8),
    observe=lambda self: np.full(4, 300),
)
_refused("Ragged", "found [[1.0], [2.0, 3.0]] (list)", observe=lambda self: [[1.0], [2.0, 3.0]])
_refused("Text", "found '0.5' (str)".replace("'0.5' (str)", "list of <U3"), observe=lambda self: ["0.5"] * 4)
_refused(
    "NoObservation",
    "expected float32 of shape (4,) as its space says, found NoneType of object",
    observe=lambda self: None,
)
_refused(
    "NotANumber", "found nan at [2], in 1 of 4 entries", observe=lambda self: np.array([0, 1, np.nan, 3], np.float32)
)
_refused(
    "NotANumberInPicture",
    "found nan at [1, 2, 0], in 1 of 400 entries",
    policy="conv-gru",
    observation_space=Box(0, 1, (4, 10, 10)),
    observe=lambda self: np.where(np.arange(400).reshape(4, 10, 10) == 120, np.nan, 0).astype(np.float32),
)
_refused(
    "BeyondTheLast",
    "a whole number from 0 to 3 as its space says, found 4 (int)",
    observation_space=Discrete(4),
    observe=lambda self: 4,
)
_refused(
    "BelowTheFirst",
    "a whole number from 5 to 8 as its space says, found 4 (int)",
    observation_space=Discrete(4, start=5),
    observe=lambda self: 4,
)
_refused("Between", "found 1.5 (float)", observation_space=Discrete(4), observe=lambda self: 1.5)
_refused("NotANumberOfFour", "found nan (float)", observation_space=Discrete(4), observe=lambda self: float("nan"))
_refused(
    "NoEntries", "expected a space with entries, found shape (0,)", observation_space=Box(0, 1, (0,)), observe=_noise(0)
)
_refused(
    "Board",
    'channels = "last" under [env]',
    policy="conv-gru",
    observation_space=Box(0, 1, (10, 10, 7), np.uint8),
    observe=_bytes(10, 10, 7),
)
_refused(
    "Stack",
    'channels = "last" under [env]',
    policy="nature",
    observation_space=Box(0, 255, (84, 84, 9), np.uint8),
    observe=_bytes(84, 84, 9),
)
_refused("Both2", f'wrappers = ["{FLATTEN}"] under [env]', observation_space=Dict(a=Discrete(3), b=Discrete(2)))
_refused("Binary", f'wrappers = ["{FLATTEN}"] under [env]', observation_space=MultiBinary(6))
_refused("Several", f'wrappers = ["{FLATTEN}"] under [env]', observation_space=MultiDiscrete([3, 4]))
_refused("Table", f'wrappers = ["{FLATTEN}"] under [env]', observation_space=Box(0, 1, (5, 5)))
_refused(
    "NotAsAnnounced", "cannot be played: IndexError", {"wrappers": [FLATTEN]}, observation_space=Dict(a=Box(0, 1, (2,)))
)
_refused("NoSpace", "expected its observation_space to be a space of gymnasium.spaces", observation_space=None)

# Actions

_played("ResetGivesList", reset=lambda self, **options: list(Odd.reset(self, **options)))
_played("FromMinusOne", action_space=Discrete(3, start=-1), reward=_contains)
_played("Whole", action_space=Box(0, 10, (2,), np.int64), reward=_contains)
_played("HalfBounded", action_space=Box(np.array([0, -1], "f4"), np.array([np.inf, 1], "f4")), reward=_contains)
_played("OneNumber", action_space=Box(-1, 1, (), np.float32), reward=_contains)
_played("OneAction", action_space=Discrete(1))

_refused("SeveralActions", 'wrappers = ["package.module:factory"] under [env]', action_space=MultiDiscrete([3, 4]))
_refused("NoActions", "must have entries, found shape (0,)", action_space=Box(-1, 1, (0,)))
_refused("NoActionSpace", "expected its action_space to be a space of gymnasium.spaces", action_space=None)

# Rewards

_played("NumpyBoolean", reward=lambda self, action: np.int64(action) == np.int64(1))
_played("TensorReward", reward=lambda self, action: torch.tensor(1.5))
_played("TensorOfOne", reward=lambda self, action: torch.ones(1))
_played("ArrayReward", reward=lambda self, action: np.array([[1.0]]))
_played("Exact", reward=lambda self, action: Decimal("0.25"))
_played("Nothing", reward=lambda self, action: 0)

_refused("NoReward", "reward: expected a number, found None (NoneType)", reward=lambda self, action: None)
_refused("TextReward", "reward: expected a number, found '1.0' (str)", reward=lambda self, action: "1.0")
_refused("TextInArray", "reward: expected a number, found array(['1.0']", reward=lambda self, action: np.array(["1.0"]))
_refused(
    "TwoRewards", "reward: expected a number, found array([1., 2.])", reward=lambda self, action: np.array([1.0, 2.0])
)
_refused("ComplexReward", "reward: expected a number, found (1+2j) (complex)", reward=lambda self, action: 1 + 2j)
_refused("NotAReward", "reward: expected a number, found nan at step 1", reward=lambda self, action: float("nan"))

# Another interface

_refused(
    "ResetWithoutSeed",
    "reset: expected def reset(self, *, seed=None, options=None), found",
    reset=lambda self: np.zeros(4),
)
_refused(
    "ResetOfOne",
    "reset: expected (observation, info), found array([0., 0.",
    reset=lambda self, **_: np.zeros(4),
)
_refused(
    "ResetOfTwoNumbers",
    "reset: expected (observation, info), found (0.0, 1.0) (tuple)",
    observation_space=Box(0, 1, (2,)),
    reset=lambda self, **_: (0.0, 1.0),
)
_refused(
    "StepOfFour",
    "step: expected (observation, reward, terminated, truncated, info), found (0, 1.0, False, {})",
    step=lambda self, action: (0, 1.0, False, {}),
)
_refused(
    "StepOfNone",
    "step: expected (observation, reward, terminated, truncated, info), found None",
    step=lambda self, action: None,
)
_refused(
    "StepOfFourLimited",
    "step: expected (observation, reward, terminated, truncated, info), found in",
    {"kwargs": {"max_episode_steps": 9}},
    step=lambda self, action: (0, 1.0, False, {}),
)


# Code that raises, exits, dies or hangs


def _raise(error: BaseException) -> None:
    raise error


_AT = f"(tests/odd_envs.py:{_raise.__code__.co_firstlineno + 1}, in _raise)"
_refused(
    "MakeRaises",
    f"cannot make 'tests.odd_envs:MakeRaises-v0': RuntimeError: no display on two lines {_AT}",
    __init__=lambda self: _raise(RuntimeError("no display\non two lines")),
)
_refused("MakeExits", f"SystemExit: no licence {_AT}", __init__=lambda self: _raise(SystemExit("no licence")))
_refused(
    "MakeHasNoFile",
    "FileNotFoundError: [Errno 2] No such file or directory: '/no/map'",
    __init__=lambda self: open("/no/map"),  # noqa: PTH123, SIM115
)
_refused(
    "MakeDies",
    "the process that made and played 'tests.odd_envs:MakeDies-v0' was killed by SIGSEGV",
    __init__=lambda self: os.kill(os.getpid(), signal.SIGSEGV),
)
_refused(
    "MakeLeaves",
    "the process that made and played 'tests.odd_envs:MakeLeaves-v0' exited with status 3",
    __init__=lambda self: os._exit(3),
)
_refused(
    "MakeInterrupts",
    f"'tests.odd_envs:MakeInterrupts-v0' cannot be played: KeyboardInterrupt {_AT}",
    __init__=lambda self: _raise(KeyboardInterrupt()),
)
_refused("ResetRaises", f"cannot be played: KeyError: 'map' {_AT}", reset=lambda self, **_: _raise(KeyError("map")))
_refused(
    "StepRaises",
    f"cannot be played: RuntimeError: simulator said no {_AT}",
    step=lambda self, action: _raise(RuntimeError("simulator said\nno")),
)
_refused(
    "Unpacks",
    "cannot be played: ValueError: not enough values to unpack",
    step=lambda self, action: [a for a, b in [action * 0 + np.ones(1)]],
)
_refused(
    "MakeHangs",
    "was not made and played for a few steps within 3 s; it was at tests/odd_envs.py:",
    {"rehearsal_timeout_s": 3},
    __init__=lambda self: time.sleep(1000),
)
_refused(
    "StepHangsInC",
    "within 3 s; it was at tests/odd_envs.py:",
    {"rehearsal_timeout_s": 3},
    step=lambda self, action: ctypes.PyDLL(None).sleep(1000),
)
