"""Checks of what the built-in networks are asked to be."""

from __future__ import annotations

import gymnasium

from gadask.errors import PolicyError


def vector_size(kind: str, space: gymnasium.Space) -> int:
    """Return the length of a vector space; raise `PolicyError` if it is none."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise PolicyError(
            f"policy {kind!r} needs a Box observation of one axis, found {space};"
            " use 'such2017', 'nature' or 'conv-gru' for images"
        )
    return int(space.shape[0])


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
