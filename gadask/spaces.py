"""Spaces: which axis of a picture holds its channels, which networks need first; a space in one line."""

from __future__ import annotations

import gymnasium
import numpy as np

_MAX_TEXT = 160
_FEW = 4  # channels; more than that may be anything


class ChannelsFirst(gymnasium.spaces.Box):  # type: ignore[misc]
    """A picture whose first axis holds the channels for certain, whatever the lengths of the others."""


def are_last(space: gymnasium.spaces.Box) -> bool:
    """Whether a space of 3 axes is of bytes with channels on the last: up to 4 of them, behind a longer axis."""
    return bool(space.dtype == np.uint8 and space.shape[2] <= _FEW < space.shape[0])


def are_first(space: gymnasium.spaces.Box) -> bool:
    """Whether the first axis of a space of 3 axes holds channels: it was told so, or is shorter than the last."""
    return isinstance(space, ChannelsFirst) or space.shape[0] < space.shape[2]


def in_short(space: gymnasium.Space) -> str:
    """Return a space in one line."""
    text = " ".join(str(space).split())
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
