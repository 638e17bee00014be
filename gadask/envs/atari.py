"""Atari 2600 games with the preprocessing of Such et al. 2017 (arXiv 1712.06567).

A step plays one action for 4 frames; the observation is the maximum of the last two frames in grey, resized by
area to 84×84, stacked with those of the three steps before (zeros before the first). An episode starts with 1–30
no-ops, their number drawn from its seed, then one frame of FIRE where the game has it. No sticky actions, minimal
action set, no end of the episode at a lost life, no clipped rewards.

The emulator is driven through `ale_py.ALEInterface`, not through `ale_py.vector_env.AtariVectorEnv`, whose pictures
are the same but for rounding, and which is slower: a seeded reset takes 1 ms here and 85 ms there, since the vector
environment loads the ROM again to seed it (ale-py 0.12.1). Without sticky actions the emulator draws nothing at random;
`FreshStart` puts it back to the freshly loaded ROM.
"""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.config import EnvConfig, Scalar
from gadask.envs.atari_start import FreshStart
from gadask.envs.base import Action, Env, Observation
from gadask.envs.screen import SIZE, open_screen
from gadask.errors import EnvError

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
    _check_kwargs(config.kwargs)
    for key, found in (("wrappers", config.wrappers), ("channels", config.channels != "auto")):
        if found:
            raise EnvError(
                f"env.{key}: expected with an environment of Gymnasium, found with {config.id!r}; leave it out, or"
                f" write 'ale_py:{config.id}' for Gymnasium's own form of the game"
            )
    return AtariEnv(games[config.id], **{**_DEFAULTS, **config.kwargs})


class AtariEnv(Env):
    """One game. Observations are uint8 `(stack_num, 84, 84)`, the newest picture last."""

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
    ) -> None:
        """Load the ROM of `game` (its name in snake case)."""
        import ale_py
        from ale_py import roms

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        rom = roms.get_rom_path(game)
        if rom is None:
            raise EnvError(f"env.id: ale-py has no ROM for {game!r}; reinstall ale-py, which ships them")
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", repeat_action_probability)
        self._start = FreshStart(self._ale, rom)
        self._sticky = repeat_action_probability > 0
        self._actions: list[Any] = (
            self._ale.getLegalActionSet() if full_action_space else self._ale.getMinimalActionSet()
        )
        self._fires = use_fire_reset and ale_py.Action.FIRE in self._actions
        self._noop, self._fire = ale_py.Action.NOOP, ale_py.Action.FIRE
        self._noop_max = noop_max
        self._start.begin_with(self._noop if noop_max else self._fire if self._fires else None)
        self._frameskip = frameskip
        self._maxpool = maxpool
        self._episodic_life = episodic_life
        self._reward_clipping = reward_clipping
        self._color_before: NDArray[np.uint8] | None = None
        self._pooled = False
        self._stack = np.zeros((stack_num, SIZE, SIZE), np.uint8)
        self._screen = open_screen(self._ale, self._stack[-1])
        self.frames_per_step = frameskip
        self.steps_per_s = _FRAMES_PER_S / frameskip
        self.action_meanings = tuple(action.name for action in self._actions)
        self.observation_space = gymnasium.spaces.Box(0, 255, self._stack.shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))

    def reset(self, seed: int) -> Observation:
        """Start the episode that `seed`, at least 0, determines."""
        n_noops = int(np.random.default_rng(seed).integers(1, self._noop_max + 1)) if self._noop_max else 0
        before = [self._noop] * n_noops + [self._fire] * self._fires
        self._start.restart(seed if self._sticky else None)  # has played the first of them
        self._begin_again_if_over()
        for action in before[1:]:
            self._ale.act(action)
            self._begin_again_if_over()
        self._pooled = False
        self._stack[:] = 0
        self._screen.shrink(with_kept=False)
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
            reward += ale.act(ale_action)
            done = ale.game_over() or (self._episodic_life and ale.lives() < lives)
            if done:
                break
            if frame == last - 1 and self._maxpool:
                self._screen.keep()
                if self._color_before is not None:
                    ale.getScreenRGB(self._color_before)
        self._pooled = self._maxpool and last > 0 and not done
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

    def _begin_again_if_over(self) -> None:
        """Start the game again if it ended before the episode began."""
        if self._ale.game_over():
            self._ale.reset_game()


def _check_kwargs(kwargs: dict[str, Scalar]) -> None:
    """Raise `EnvError` at the first kwarg that is unknown or has an impossible value."""
    least = {"frameskip": 1, "stack_num": 1, "noop_max": 0, "repeat_action_probability": 0}
    for key, value in kwargs.items():
        if key not in _DEFAULTS:
            near = difflib.get_close_matches(key, _DEFAULTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(_DEFAULTS)}"
            raise EnvError(f"env.kwargs: unknown key {key!r} for an Atari game; {hint}")
        kind = type(_DEFAULTS[key])
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, int if kind is int else kind | int):
            raise EnvError(f"env.kwargs.{key}: expected {kind.__name__}, found {value!r}")
        if key in least and not least[key] <= value <= (1 if kind is float else 1000):  # type: ignore[operator]
            raise EnvError(f"env.kwargs.{key}: expected at least {least[key]}, found {value!r}")
