"""Atari as its sources have it: against loops of our own that do what each program does, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ale_py
import cv2
import numpy as np
import pytest
import torch
from ale_py import roms
from numpy.typing import NDArray

from gadask.config import EnvConfig, config_from_dict
from gadask.envs import make_env
from gadask.envs.palette import grey_bytes, grey_floats
from gadask.envs.resize import BilinearResize
from gadask.errors import EnvError

N_STEPS = 60

Pictures = list[NDArray[Any]]


class Emulator:
    """A freshly loaded game that remembers its last two frames, red, green and blue."""

    def __init__(self, game: str) -> None:
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.setInt("random_seed", 0)
        self.ale.loadROM(roms.get_rom_path(game))
        self.ale.reset_game()
        self.actions = self.ale.getMinimalActionSet()
        self.frames: Pictures = [self.ale.getScreenRGB()] * 2

    def act(self, action: Any, n_frames: int = 1) -> None:
        for _ in range(n_frames):
            self.ale.act(action)
            self.frames = [self.frames[1], self.ale.getScreenRGB()]

    @property
    def has_fire(self) -> bool:
        return ale_py.Action.FIRE in self.actions


def of_such2017(game: str, n_noops: int, actions: list[int]) -> Pictures:
    """Return the stacks that the GPU program of Such et al. 2017 gives its networks."""
    emulator = Emulator(game)
    for _ in range(n_noops):
        emulator.act(ale_py.Action.NOOP)
    if emulator.has_fire:
        emulator.act(emulator.actions[1], 4)
        emulator.act(emulator.actions[2], 4)

    def picture() -> torch.Tensor:
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        grey = np.maximum(*((frame.astype(np.float32) / np.float32(255)) @ weights for frame in emulator.frames))
        resized: torch.Tensor = torch.nn.functional.interpolate(
            torch.from_numpy(grey)[None, None], (84, 84), mode="bilinear", align_corners=True
        )
        return resized[0, 0]

    stack = torch.zeros(4, 84, 84)
    stack[3] = picture()
    seen = [stack.numpy().copy()]
    for action in actions:
        emulator.act(emulator.actions[action], 4)
        stack = torch.cat([stack[1:], picture()[None]])
        seen.append(stack.numpy().copy())
    return seen


def of_ga_dist(game: str, n_noops: int, actions: list[int]) -> Pictures:
    """Return the stacks that the wrappers of OpenAI's baselines give, in bytes."""
    emulator = Emulator(game)
    for _ in range(n_noops):
        emulator.act(ale_py.Action.NOOP)
    frame = emulator.frames[1]
    if emulator.has_fire:
        emulator.act(emulator.actions[1], 4)
        emulator.act(emulator.actions[2], 4)
        frame = np.maximum(*emulator.frames)

    def picture(frame: NDArray[Any]) -> NDArray[Any]:
        grey: NDArray[Any] = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)
        return grey

    pictures = [picture(frame)] * 4
    seen = [np.stack(pictures)]
    for action in actions:
        emulator.act(emulator.actions[action], 4)
        pictures = [*pictures[1:], picture(np.maximum(*emulator.frames))]
        seen.append(np.stack(pictures))
    return seen


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("game", ["Frostbite", "Breakout", "Asterix", "Skiing"])  # the last two have no FIRE
@pytest.mark.parametrize(
    ("preprocessing", "source", "tolerance"), [("such2017", of_such2017, 1e-5), ("ga-dist", of_ga_dist, 1)]
)
def test_pictures_are_those_of_the_source(
    preprocessing: Any, source: Callable[..., Pictures], tolerance: float, game: str, seed: int
) -> None:
    env = make_env(EnvConfig(f"ALE/{game}-v5", preprocessing=preprocessing))
    found = [env.reset(seed).copy()]
    actions = np.random.default_rng(100 + seed).integers(0, env.action_space.n, N_STEPS).tolist()
    for action in actions:
        found.append(env.step(action)[0].copy())
    n_noops = int(np.random.default_rng(seed).integers(1, 31))
    differing = 0.0
    for ours, theirs in zip(found, source(game.lower(), n_noops, actions), strict=True):
        assert ours.dtype == theirs.dtype
        difference = np.abs(ours.astype(np.float64) - theirs)
        assert difference.max() <= tolerance
        differing += float((difference > 0).mean())
    assert ours.dtype == np.float32 or differing / len(found) < 0.01  # OpenCV rounds some means another way


def test_the_frame_before_a_single_no_op_is_part_of_the_first_picture() -> None:
    """In Skiing, which has no FIRE; the game draws its flags anew in each of its first frames."""
    env = make_env(EnvConfig("ALE/Skiing-v5", {"noop_max": 1}, preprocessing="such2017"))
    env.reset(5)
    for _ in range(20):
        env.step(1)
    first = env.reset(5).copy()
    assert np.abs(first - of_such2017("skiing", 1, [])[0]).max() < 1e-5


def test_bilinear_is_torchs() -> None:
    for shape in ((210, 160), (250, 160), (84, 84), (100, 90)):
        picture = np.random.default_rng(0).random(shape, np.float32)
        out = np.empty((84, 84), np.float32)
        BilinearResize(shape, (84, 84))(picture, out)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(picture)[None, None], (84, 84), mode="bilinear", align_corners=True
        )
        assert np.abs(out - expected[0, 0].numpy()).max() < 2e-5


def test_grey_bytes_are_opencvs() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    assert (grey_bytes(rgb) == cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)).all()
    assert np.abs(grey_floats(rgb) * 255 - grey_bytes(rgb)).max() <= 0.51


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("none", "gadask"), ("such2017", "such2017"), ("ga-dist", "ga-dist")],
)
def test_each_preset_has_its_sources_preprocessing(preset: str, expected: str) -> None:
    config = config_from_dict({"preset": preset, "env": {"id": "ALE/Kangaroo-v5", "kwargs": {"noop_max": 5}}})
    assert config.env.preprocessing == expected
    assert config.env.longest_test == (100_000 if preset == "such2017" else 5000)
    space = make_env(config.env).observation_space
    assert space.dtype == (np.float32 if preset == "such2017" else np.uint8)


def test_a_kwarg_wins_over_the_preprocessing() -> None:
    env = make_env(EnvConfig("ALE/Skiing-v5", {"resize": "area"}, preprocessing="such2017"))
    assert env.observation_space.dtype == np.uint8


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"resize": "cubic"}, "env.kwargs.resize: expected 'area' or 'bilinear', found 'cubic'"),
        ({"fire_reset": True}, "env.kwargs.fire_reset: expected 'frame' or 'steps', found True"),
        ({"first_maxpool": 1}, "env.kwargs.first_maxpool: expected bool, found 1"),
        (
            {"resize": "bilinear", "maximum_of": "colours"},
            "env.kwargs.maximum_of: expected 'greys' with resize = 'bilinear', found 'colours'",
        ),
    ],
)
def test_impossible_pictures_are_refused(kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(EnvError, match=text):
        make_env(EnvConfig("ALE/Skiing-v5", kwargs))
