"""The compiled screens against the plain ones: the same pictures, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ale_py
import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.config import EnvConfig
from gadask.envs import make_env, screen_compiled
from gadask.envs.palette import grey_floats
from gadask.envs.screen import SIZE, Look, PlainScreen
from gadask.envs.screen_compiled import INSTRUCTION_SETS, CompiledScreen, compiled_screen
from gadask.errors import UsageError
from tests.instruction_sets import runnable

LOOKS = (Look("area", "greys"), Look("area", "colours"), Look("bilinear", "greys"))

library: Any = screen_compiled.load()
SUPPORTED = runnable(library, INSTRUCTION_SETS, "to_grey")
assert SUPPORTED, "the screen is not compiled: needs GCC and a processor with AVX2 or NEON; make setup"


class Emulator:
    """Shows random colours, of more and more kinds; each has a grey of its own, and a red, green and blue."""

    def __init__(self, height: int, greys: NDArray[np.uint8], n_colours: int) -> None:
        self._greys, self._n_colours = greys, n_colours
        self._rgb = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
        self._colours = np.zeros((height, 160), np.uint8)
        self.rng = np.random.default_rng(height)

    def act(self, step: int) -> None:
        seen = np.arange(0, 256, 256 // self._n_colours, dtype=np.uint8)[: 2 + 20 * step]
        if step % 3 == 2:
            seen = seen[seen % 2 == 0]
        self._colours[:] = self.rng.choice(seen, self._colours.shape)

    def getScreenDims(self) -> tuple[int, int]:  # noqa: N802
        height, width = self._colours.shape
        return height, width

    def getScreen(self, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:  # noqa: N802
        out = np.empty_like(self._colours) if out is None else out
        out[:] = self._colours
        return out

    def getScreenGrayscale(self, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:  # noqa: N802
        out = np.empty_like(self._colours) if out is None else out
        out[:] = self._greys[self._colours]
        return out

    def getScreenRGB(self) -> NDArray[np.uint8]:  # noqa: N802
        return self._rgb[self._colours]


def pictures_of_both(ale: Any, look: Look, instructions: str, actions: Iterable[Any]) -> Iterator[bytes]:
    """Yield the pictures of the plain screen, with a kept frame and without, each the same as the compiled one's."""
    pictures = [np.zeros((SIZE, SIZE), look.dtype) for _ in range(2)]
    screens = PlainScreen(ale, pictures[0], look), compiled_screen(ale, pictures[1], look, library, instructions)
    for action in actions:
        ale.act(action)
        for each in screens:
            each.keep()
        ale.act(action)
        for with_kept in (True, False):
            for each in screens:
                each.shrink(with_kept)
            assert pictures[0].tobytes() == pictures[1].tobytes()
            yield pictures[0].tobytes()


@pytest.mark.parametrize("instructions", SUPPORTED)
@pytest.mark.parametrize("look", LOOKS, ids="-".join)
@pytest.mark.parametrize("game", ["air_raid", "asteroids", "frostbite", "pong"])  # the first shows odd colours
def test_what_a_game_shows(game: str, look: Look, instructions: str) -> None:
    ale = ale_py.ALEInterface()
    ale.loadROM(ale_py.roms.get_rom_path(game))
    legal = ale.getMinimalActionSet()
    actions = [legal[number] for number in np.random.default_rng(0).integers(len(legal), size=300)]
    assert len(set(pictures_of_both(ale, look, instructions, actions))) > 30


@pytest.mark.parametrize("instructions", SUPPORTED)
@pytest.mark.parametrize("look", LOOKS, ids="-".join)
@pytest.mark.parametrize("n_colours", [128, 256])  # an odd colour is another than the even one before it
@pytest.mark.parametrize("height", [105, 210, 214, 250])
def test_all_colours(height: int, n_colours: int, look: Look, instructions: str) -> None:
    greys = np.random.default_rng(0).permutation(256).astype(np.uint8)  # of which 255, too
    assert len(list(pictures_of_both(Emulator(height, greys, n_colours), look, instructions, range(15)))) == 30


def test_the_larger_of_two_frames_is_of_greys_or_of_colours() -> None:
    """Red before blue, which is darker: their larger colours make a magenta that neither has."""
    red, blue = np.array([200, 0, 0], np.uint8), np.array([0, 0, 255], np.uint8)

    class Flickering(Emulator):
        def act(self, step: int) -> None:
            self._rgb[:2] = red, blue
            self._colours[:] = step

    found = {}
    for look in LOOKS[1:]:
        ale, picture = Flickering(210, np.zeros(256, np.uint8), 256), np.zeros((SIZE, SIZE), look.dtype)
        plain = PlainScreen(ale, picture, look)
        ale.act(0)
        plain.keep()
        ale.act(1)
        plain.shrink(with_kept=True)
        assert len(np.unique(picture)) == 1
        found[look] = picture[0, 0]
    assert found[LOOKS[1]] == round(0.299 * 200 + 0.114 * 255)
    assert found[LOOKS[2]] == grey_floats(red) == pytest.approx(0.299 * 200 / 255)


@pytest.mark.parametrize("preprocessing", ["gadask", "such2017", "ga-dist"])
def test_an_environment_plays_the_same_without_the_library(preprocessing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = EnvConfig("ALE/Frostbite-v5", preprocessing=preprocessing)
    envs = [make_env(config)]
    monkeypatch.setattr(screen_compiled, "load", lambda: None)
    envs.append(make_env(config))
    compiled_one, plain_one = (env._screen for env in envs)  # type: ignore[attr-defined]
    assert isinstance(compiled_one, CompiledScreen)
    assert isinstance(plain_one, PlainScreen)
    for seed in range(2):
        first, second = (env.reset(seed) for env in envs)
        assert first.tobytes() == second.tobytes()
        for action in np.random.default_rng(seed).integers(18, size=100):
            first, second = (env.step(int(action))[0] for env in envs)
            assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", ["screen.c", "screen_x86.h", "screen_neon.h"])
def test_a_library_of_another_source_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(screen_compiled.__file__).with_name(name)
    (tmp_path / name).write_bytes(source.read_bytes() + b" ")
    monkeypatch.setattr(screen_compiled, "__file__", str(tmp_path / "screen_compiled.py"))
    with pytest.raises(UsageError, match=f"compiled from other sources than {tmp_path / name}"):
        screen_compiled.load.__wrapped__()
