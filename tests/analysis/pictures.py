"""Looking at pictures, in tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence


def decoded(gif: bytes | Path) -> tuple[list[NDArray[np.uint8]], float]:
    """Return a GIF's frames, uint8 `(height, width, 3)`, and its length in seconds."""
    content = gif if isinstance(gif, bytes) else gif.read_bytes()
    frames, length_s = [], 0.0
    with Image.open(io.BytesIO(content)) as image:
        for frame in ImageSequence.Iterator(image):
            frames.append(np.array(frame.convert("RGB")))
            length_s += frame.info["duration"] / 1000
    return frames, length_s


def has_color(picture: NDArray[np.uint8], color: str) -> bool:
    """Whether some pixel has exactly this colour, `#RRGGBB`."""
    return bool((picture == tuple(bytes.fromhex(color[1:]))).all(axis=2).any())
