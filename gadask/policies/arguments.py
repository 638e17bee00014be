"""Checks of what the built-in networks are asked to be."""

from __future__ import annotations

import gymnasium

from gadask.errors import PolicyError
from gadask.spaces import are_first, in_short


def vector_size(kind: str, space: gymnasium.Space) -> int:
    """Return the length of a vector space; raise `PolicyError` if it is none."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise PolicyError(
            f"policy {kind!r} needs a Box observation of one axis, found {in_short(space)};"
            " use 'such2017', 'nature' or 'conv-gru' for images, or make it one vector by"
            ' wrappers = ["gymnasium.wrappers.FlattenObservation"] under [env]'
        )
    return int(space.shape[0])


def picture_shape(kind: str, space: gymnasium.Space) -> tuple[int, int, int]:
    """Return (channels, height, width) of a space of 3 axes; raise `PolicyError` if it has others, or is not clear."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 3:
        raise PolicyError(
            f"policy {kind!r} needs a Box observation with shape (channels, height, width), found {in_short(space)};"
            " use 'gru' or 'mlp' for vectors"
        )
    if not are_first(space):
        raise PolicyError(
            f"policy {kind!r} cannot tell which axis of an observation of shape {space.shape} holds channels; add"
            ' channels = "last" under [env], or channels = "first" if it is the first'
        )
    channels, height, width = space.shape
    return channels, height, width


def whole_numbers(key: str, text: object, example: str) -> list[int]:
    """Return the numbers joined by commas in `text`, none of them below 1; raise `PolicyError` if they are not that."""
    try:
        numbers = [int(number) for number in str(text).split(",") if str(text).strip()]
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        raise PolicyError(f"policy.kwargs.{key}: expected {example}, found {text!r}")
    return numbers


def whole_number(key: str, value: object, least: int) -> int:
    """Return `value` if it is a whole number of at least `least`; raise `PolicyError` if not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PolicyError(f"policy.kwargs.{key}: expected a whole number of at least {least}, found {value!r}")
    return value
