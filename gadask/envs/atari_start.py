"""Puts an emulator back to where the freshly loaded ROM of its game is, so that every episode begins like the first.

Loading a ROM takes as long as hundreds of frames, restoring a cloned state as long as one. But a clone does not hold
everything (ale-py 0.12.1): not the picture, not whether the frame before was left unfinished, and some parts of
cartridges and scores are wrong. Q*bert, Tetris, Pitfall II and Miniature Golf play differently when restored, and
Amidar shows a part of the episode before.

So each restart plays the first frame and compares state and picture with those of the freshly loaded ROM after that
frame. The state counts the processor's cycles from the last finished frame on, so it also tells which kind of frame was
before. Where they differ, the next slower way is taken from then on, in the end that of loading the ROM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class FreshStart:
    """The start of the episodes of one emulator, an `ale_py.ALEInterface` with its settings made."""

    def __init__(self, ale: Any, rom: Any) -> None:
        """Load the ROM at the path `rom`."""
        self._ale = ale
        self._rom = rom
        self._first: Any = None
        self._ale.setInt("random_seed", 0)
        self.load_again()

    def begin_with(self, action: Any) -> None:
        """Have every restart play `action` for one frame, None for no frame; to be called once, before the first."""
        self._first = action
        self._ways: list[Callable[[], None]] = [self._reset_again, self.load_again]
        if action is not None:  # without a frame the picture would be that of the episode before
            self._ways.insert(0, self._restore)
        self._play_first()
        self._started, self._picture = self._ale.cloneSystemState(), self._ale.getScreen()

    def restart(self) -> None:
        """Put the emulator where the freshly loaded ROM is after the first frame."""
        while not self._arrives(self._ways[0]) and len(self._ways) > 1:
            del self._ways[0]

    def load_again(self) -> None:
        """Load the ROM, and play no frame."""
        self._ale.loadROM(self._rom)
        self._loaded = self._ale.cloneSystemState()
        self._ale.reset_game()
        self._reset = self._ale.cloneSystemState()

    def _arrives(self, way: Callable[[], None]) -> bool:
        way()
        self._play_first()
        ale = self._ale
        return bool(ale.cloneSystemState() == self._started) and np.array_equal(ale.getScreen(), self._picture)

    def _play_first(self) -> None:
        if self._first is not None:
            self._ale.act(self._first)

    def _restore(self) -> None:
        self._ale.restoreSystemState(self._reset)

    def _reset_again(self) -> None:
        """Restore the state from before the game was reset, and reset it, as after loading: some seventy frames."""
        self._ale.restoreSystemState(self._loaded)
        self._ale.reset_game()
