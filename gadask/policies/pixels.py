"""What the networks of Atari's pictures share: which images they take, and where the patches of convolutions lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from gadask.errors import PolicyError
from gadask.policies.arguments import picture_shape
from gadask.policies.kernels import Window

_MIN_SIZE = 36  # the least height and width that leaves a pixel after three convolutions without padding


def image_of(kind: str, space: gymnasium.Space) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    """Return (channels, height, width) and dtype of an image space; raise `PolicyError` if it is none."""
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 3 and _has_pixels(space):
        channels, height, width = picture_shape(kind, space)
        if min(height, width) >= _MIN_SIZE:
            return (channels, height, width), np.dtype(space.dtype)
    raise PolicyError(
        f"policy {kind!r} needs a Box observation of uint8, or of float32 from 0 to 1, with shape (channels, height,"
        f" width), such as (4, 84, 84), at least {_MIN_SIZE} high and wide; found {space}; use 'mlp' for vectors"
    )


def windows_of(kernels: Sequence[tuple[int, int]], height: int, width: int, same: bool) -> list[Window]:
    """Return where the patches of convolutions lie, with TensorFlow's SAME or VALID padding.

    `kernels` holds kernel and stride of each; the first reads an image of `height` × `width`.
    """
    windows = []
    for kernel, stride in kernels:
        rows, top, bottom = _padding(height, kernel, stride, same)
        columns, left, right = _padding(width, kernel, stride, same)
        windows.append(Window(kernel, stride, rows, columns, top, left, bottom, right))
        height, width = rows, columns
    return windows


def _has_pixels(space: gymnasium.spaces.Box) -> bool:
    is_float = space.dtype == np.float32 and bool(space.low.min() >= 0) and bool(space.high.max() <= 1)
    return space.dtype == np.uint8 or is_float


def _padding(size: int, kernel: int, stride: int, same: bool) -> tuple[int, int, int]:
    """Return the output's size and the padding before and after, as TensorFlow's SAME or VALID have it."""
    if not same:
        return (size - kernel) // stride + 1, 0, 0
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + kernel - size, 0)
    return outputs, padding // 2, padding - padding // 2
