"""Atari 2600 games with the preprocessing of Such et al. 2017 (arXiv 1712.06567), of ga-dist, or gadask's own.

A step plays one action for 4 frames; the observation is the maximum of the last two frames in grey, resized to 84×84,
stacked with those of the three steps before. An episode starts with 1–30 no-ops, their number drawn from its seed, then
FIRE where the game has it. No sticky actions, minimal action set, no end of the episode at a lost life, no clipped
rewards. So a genome that draws nothing has `noop_max` different episodes. Where sources differ there is a kwarg, and
`env.preprocessing` sets them all:

| kwarg | `gadask` | `such2017`: the authors' GPU program | `ga-dist`: the wrappers of OpenAI's baselines |
| --- | --- | --- | --- |
| `resize` | `area` | `bilinear`, of greys that are not rounded: float32 from 0 to 1 | `area`: bytes |
| `maximum_of` | `greys` | `greys` | `colours`, and then grey |
| `fire_reset` | `frame`: FIRE for a frame | `steps`: FIRE for a step, then action 2 (from 0) for one | `steps` |
| `first_stack` | `zeros` before the first picture | `zeros` | `repeated`: the first picture in all places |
| `first_maxpool` | false | true: the first picture is a maximum as well | false: only after whole steps |

The emulator is driven through `ale_py.ALEInterface`, not through `ale_py.vector_env.AtariVectorEnv`, which has one kind
of picture and is slower: a seeded reset takes 1 ms here and 85 ms there, since the vector environment loads the ROM
again to seed it (ale-py 0.12.1). `FreshStart` puts the emulator back to the freshly loaded ROM. The emulator draws
nothing at random: with `repeat_action_probability`, which actions are repeated follows from the episode's seed here.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.config import EnvConfig, Scalar
from gadask.envs.atari_start import FreshStart
from gadask.envs.base import Action, Env, Observation
from gadask.envs.screen import SIZE, Look
from gadask.envs.screen_compiled import open_screen
from gadask.errors import EnvError
from gadask.genomes.seeding import start_of

_FRAMES_PER_S = 60

_DEFAULTS: dict[str, Scalar] = {
    "frameskip": 4,
    "maxpool": True,
    "stack_num": 4,
    "noop_max": 30,
    "use_fire_reset": True,
    "repeat_action_probability": 0.0,
    "full_action_space": False,
    "episodic_life": False,
    "reward_clipping": False,
    "resize": "area",
    "maximum_of": "greys",
    "fire_reset": "frame",
    "first_stack": "zeros",
    "first_maxpool": False,
}
_PREPROCESSING: dict[str, dict[str, Scalar]] = {
    "gadask": {},
    "such2017": {"resize": "bilinear", "fire_reset": "steps", "first_maxpool": True},
    "ga-dist": {"maximum_of": "colours", "fire_reset": "steps", "first_stack": "repeated"},
}
"""What differs from `_DEFAULTS`, by `env.preprocessing`."""
_CHOICES = {
    "resize": ("area", "bilinear"),
    "maximum_of": ("greys", "colours"),
    "fire_reset": ("frame", "steps"),
    "first_stack": ("zeros", "repeated"),
}


def make_atari_env(config: EnvConfig) -> AtariEnv:
    """Build `ALE/<Game>-v5` with the kwargs of `AtariEnv`.

    Raises `EnvError` if ale-py is not installed or if the game or a kwarg is unknown.
    """
    try:
        import ale_py
    except ImportError:
        raise EnvError(f"env.id: {config.id!r} needs ale-py, not found; pip install 'gadask[atari]'") from None
    gymnasium.register_envs(ale_py)
    games = {name: spec.kwargs["game"] for name, spec in gymnasium.registry.items() if name.startswith("ALE/")}
    if config.id not in games:
        near = difflib.get_close_matches(config.id, games, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "such as 'ALE/Frostbite-v5'"
        raise EnvError(f"env.id: expected a game of ale-py, found {config.id!r}; {hint}")
    kwargs: dict[str, Any] = _DEFAULTS | _PREPROCESSING[config.preprocessing] | config.kwargs
    _check_kwargs(config.kwargs)
    if kwargs["resize"] == "bilinear" and kwargs["maximum_of"] == "colours":
        raise EnvError("env.kwargs.maximum_of: expected 'greys' with resize = 'bilinear', found 'colours'")
    for key, found in (("wrappers", config.wrappers), ("channels", config.channels != "auto")):
        if found:
            raise EnvError(
                f"env.{key}: expected with an environment of Gymnasium, found with {config.id!r}; leave it out, or"
                f" write 'ale_py:{config.id}' for Gymnasium's own form of the game"
            )
    return AtariEnv(games[config.id], **kwargs)


def count_starts(config: EnvConfig) -> int:
    """Return the `n_starts` of the game that a config of an Atari game means, without making it."""
    kwargs: dict[str, Any] = _DEFAULTS | _PREPROCESSING[config.preprocessing] | config.kwargs
    return _count_starts(kwargs["noop_max"], kwargs["repeat_action_probability"])


class AtariEnv(Env):
    """One game. Observations are `(stack_num, 84, 84)`, the newest picture last: uint8, float32 with `bilinear`."""

    def __init__(
        self,
        game: str,
        *,
        frameskip: int,
        maxpool: bool,
        stack_num: int,
        noop_max: int,
        use_fire_reset: bool,
        repeat_action_probability: float,
        full_action_space: bool,
        episodic_life: bool,
        reward_clipping: bool,
        resize: Literal["area", "bilinear"],
        maximum_of: Literal["greys", "colours"],
        fire_reset: Literal["frame", "steps"],
        first_stack: Literal["zeros", "repeated"],
        first_maxpool: bool,
    ) -> None:
        """Load the ROM of `game` (its name in snake case)."""
        import ale_py
        from ale_py import roms

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        rom = roms.get_rom_path(game)
        if rom is None:
            raise EnvError(f"env.id: ale-py has no ROM for {game!r}; reinstall ale-py, which ships them")
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._start = FreshStart(self._ale, rom)
        self._repeat_probability = repeat_action_probability
        self._actions: list[Any] = (
            self._ale.getLegalActionSet() if full_action_space else self._ale.getMinimalActionSet()
        )
        self._noop = ale_py.Action.NOOP
        self._noop_max = noop_max
        self._fire_frames: list[Any] = []
        if use_fire_reset and ale_py.Action.FIRE in self._actions:
            whole_steps = [ale_py.Action.FIRE] * frameskip + [self._actions[2]] * frameskip
            self._fire_frames = whole_steps if fire_reset == "steps" else [ale_py.Action.FIRE]
        first = [self._noop] * bool(noop_max) + self._fire_frames
        if repeat_action_probability and not noop_max:
            first = []  # instead of FIRE the no-op may be repeated that an emulator begins with
        self._start.begin_with(first[0] if first else None)
        self._n_started = len(first[:1])
        self._frameskip = frameskip
        self._maxpool = maxpool and frameskip > 1
        self._first_maxpool = self._maxpool and (first_maxpool or len(self._fire_frames) > 1)
        self._repeats_first = first_stack == "repeated"
        self._episodic_life = episodic_life
        self._reward_clipping = reward_clipping
        self._color_before: NDArray[np.uint8] | None = None
        self._pooled = False
        look = Look(resize, maximum_of)
        self._stack: NDArray[Any] = np.zeros((stack_num, SIZE, SIZE), look.dtype)
        self._screen = open_screen(self._ale, self._stack[-1], look)
        self.n_starts = _count_starts(noop_max, repeat_action_probability)
        self.frames_per_step = frameskip
        self.steps_per_s = _FRAMES_PER_S / frameskip
        self.action_meanings = tuple(action.name for action in self._actions)
        self.observation_space = gymnasium.spaces.Box(0, 255 if resize == "area" else 1, self._stack.shape, look.dtype)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))

    def reset(self, seed: int) -> Observation:
        """Start the episode that `seed`, at least 0, determines."""
        n_noops = 1 + start_of(seed, self._noop_max) if self._noop_max else 0
        self._stream = np.random.default_rng(seed)
        before = [self._noop] * n_noops + self._fire_frames
        self._last_action = self._noop
        if len(before) == 1 and self._first_maxpool:  # the frame before it is part of the picture
            self._start.load_again()  # one start of 30, in games without FIRE
            n_played = 0
        else:
            self._start.restart()
            n_played = self._n_started
            self._begin_again_if_over()
        for n_left in range(len(before) - n_played, 0, -1):
            if n_left == 1 and self._first_maxpool:
                self._keep()
            self._act(before[-n_left])
            self._begin_again_if_over()
        self._pooled = self._first_maxpool and bool(before)
        self._screen.shrink(with_kept=self._pooled)
        self._stack[:-1] = self._stack[-1] if self._repeats_first else 0
        return self._stack

    def step(self, action: Action) -> tuple[Observation, float, bool]:
        """Play `action`, an index into the game's action set, for `frameskip` frames or until the game is over."""
        ale = self._ale
        ale_action = self._actions[int(action)]
        reward = 0
        lives = ale.lives() if self._episodic_life else 0
        last = self._frameskip - 1
        done = False
        for frame in range(self._frameskip):
            reward += self._act(ale_action)
            done = ale.game_over() or (self._episodic_life and ale.lives() < lives)
            if done:
                break
            if self._maxpool and frame == last - 1:
                self._keep()
        self._pooled = self._maxpool and not done
        self._stack[:-1] = self._stack[1:]
        self._screen.shrink(with_kept=self._pooled)
        if self._reward_clipping:
            reward = max(-1, min(1, reward))
        return self._stack, float(reward), done

    def behaviour(self) -> NDArray[np.float32]:
        """Return the 128 bytes of the console's RAM, which hold the whole state of a game."""
        ram: NDArray[np.uint8] = self._ale.getRAM()
        return ram.astype(np.float32)

    def render(self) -> NDArray[np.uint8]:
        """Return in colour what the newest picture of the observation shows, uint8 `(height, width, 3)`.

        Many games draw some of their sprites in every other frame only. The first call returns the last frame alone; it
        makes the steps after it keep the colours of the frame before.
        """
        picture: NDArray[np.uint8] = self._ale.getScreenRGB()
        if self._color_before is None:
            self._color_before = np.zeros_like(picture)
        elif self._pooled:
            np.maximum(picture, self._color_before, out=picture)
        return picture

    def close(self) -> None:
        """Release the emulator."""
        del self._ale, self._screen, self._start

    def _act(self, action: Any) -> int:
        """Play `action` for a frame, or the one before it again; returns the reward."""
        if self._repeat_probability and self._stream.random() < self._repeat_probability:
            action = self._last_action
        self._last_action = action
        reward: int = self._ale.act(action)
        return reward

    def _keep(self) -> None:
        """Keep the present frame for a maximum with the next."""
        self._screen.keep()
        if self._color_before is not None:
            self._ale.getScreenRGB(self._color_before)

    def _begin_again_if_over(self) -> None:
        """Start the game again if it ended before the episode began."""
        if self._ale.game_over():
            self._ale.reset_game()


def _count_starts(noop_max: int, repeat_action_probability: float) -> int:
    return 0 if repeat_action_probability else max(1, noop_max)


def _check_kwargs(kwargs: dict[str, Scalar]) -> None:
    """Raise `EnvError` at the first kwarg that is unknown or has an impossible value."""
    least = {"frameskip": 1, "stack_num": 1, "noop_max": 0, "repeat_action_probability": 0}
    for key, value in kwargs.items():
        if key not in _DEFAULTS:
            near = difflib.get_close_matches(key, _DEFAULTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(_DEFAULTS)}"
            raise EnvError(f"env.kwargs: unknown key {key!r} for an Atari game; {hint}")
        if key in _CHOICES:
            if value not in _CHOICES[key]:
                raise EnvError(f"env.kwargs.{key}: expected {' or '.join(map(repr, _CHOICES[key]))}, found {value!r}")
            continue
        kind = type(_DEFAULTS[key])
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, int if kind is int else kind | int):
            raise EnvError(f"env.kwargs.{key}: expected {kind.__name__}, found {value!r}")
        if key in least and not least[key] <= value <= (1 if kind is float else 1000):  # type: ignore[operator]
            raise EnvError(f"env.kwargs.{key}: expected at least {least[key]}, found {value!r}")
