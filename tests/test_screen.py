"""The compiled screen against the emulator's own grey, shrunk by `AreaResize`: the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ale_py
import numpy as np
import pytest
from numpy.typing import NDArray

from gadask import compiled
from gadask.config import EnvConfig
from gadask.envs import make_env, screen
from gadask.envs.screen import INSTRUCTION_SETS, SIZE, CompiledScreen, Screen
from gadask.errors import UsageError

library: Any = screen.load()
best = compiled.instruction_set(library)
assert library is not None, "the screen is not compiled: needs GCC; make setup"
assert best is not None, "the screen needs a processor with AVX2"
SUPPORTED = INSTRUCTION_SETS[INSTRUCTION_SETS.index(best) :]


class Emulator:
    """Shows random colours, of more and more kinds; each has a grey of its own."""

    def __init__(self, height: int, greys: NDArray[np.uint8], n_colours: int) -> None:
        self._greys, self._n_colours = greys, n_colours
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

    def getScreenGrayscale(self, out: NDArray[np.uint8]) -> None:  # noqa: N802
        out[:] = self._greys[self._colours]


def pictures_of_both(ale: Any, instructions: str, actions: Iterable[Any]) -> Iterator[bytes]:
    """Yield the pictures of the plain screen, with a kept frame and without, each the same as the compiled one's."""
    pictures = [np.zeros((SIZE, SIZE), np.uint8) for _ in range(2)]
    screens = Screen(ale, pictures[0]), CompiledScreen(ale, pictures[1], library, instructions)
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
@pytest.mark.parametrize("game", ["air_raid", "asteroids", "frostbite", "pong"])  # the first shows odd colours
def test_what_a_game_shows(game: str, instructions: str) -> None:
    ale = ale_py.ALEInterface()
    ale.loadROM(ale_py.roms.get_rom_path(game))
    legal = ale.getMinimalActionSet()
    actions = [legal[number] for number in np.random.default_rng(0).integers(len(legal), size=300)]
    assert len(set(pictures_of_both(ale, instructions, actions))) > 30


@pytest.mark.parametrize("instructions", SUPPORTED)
@pytest.mark.parametrize("n_colours", [128, 256])  # an odd colour is another than the even one before it
@pytest.mark.parametrize("height", [105, 210, 214, 250])
def test_all_colours(height: int, n_colours: int, instructions: str) -> None:
    greys = np.random.default_rng(0).permutation(256).astype(np.uint8)  # of which 255, too
    assert len(list(pictures_of_both(Emulator(height, greys, n_colours), instructions, range(15)))) == 30


def test_an_environment_plays_the_same_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = [make_env(EnvConfig("ALE/Frostbite-v5"))]
    monkeypatch.setattr(screen, "load", lambda: None)
    envs.append(make_env(EnvConfig("ALE/Frostbite-v5")))
    kinds = [type(env._screen) for env in envs]  # type: ignore[attr-defined]
    assert kinds == [CompiledScreen, Screen]
    for seed in range(2):
        first, second = (env.reset(seed) for env in envs)
        assert first.tobytes() == second.tobytes()
        for action in np.random.default_rng(seed).integers(18, size=100):
            first, second = (env.step(int(action))[0] for env in envs)
            assert first.tobytes() == second.tobytes()


def test_a_library_of_another_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(screen.__file__).with_name("screen.c")
    (tmp_path / "screen.c").write_bytes(source.read_bytes() + b" ")
    monkeypatch.setattr(screen, "__file__", str(tmp_path / "screen.py"))
    with pytest.raises(UsageError, match=f"compiled from other sources than {tmp_path / 'screen.c'}"):
        screen.load.__wrapped__()
