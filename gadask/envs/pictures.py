"""Pictures of gadask's own tasks, drawn for people."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

INK: Colour = (235, 235, 235)
FAINT: Colour = (120, 120, 128)
PAPER: Colour = (28, 28, 34)
GOOD: Colour = (70, 190, 110)
BAD: Colour = (220, 80, 80)
MARK: Colour = (250, 200, 60)


class Picture:
    """A canvas of pixels; x runs to the right, y down."""

    def __init__(self, width: int, height: int) -> None:
        """Make an empty canvas."""
        self._image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, text: str, size: int = 16, colour: Colour = INK, anchor: str = "lt") -> None:
        """Write `text`; `anchor` says which point of it lies at `x`, `y`, as Pillow names it (`lt`: left top)."""
        self._draw.text((x, y), text, colour, _font(size), anchor)

    def box(
        self, x: float, y: float, width: float, height: float, fill: Colour | None = None, outline: Colour | None = None
    ) -> None:
        """Draw a rectangle, its outline 2 pixels thick."""
        if width >= 1 and height >= 1:
            self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill, outline, 2 if outline else 0)

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: Colour, width: int = 2) -> None:
        """Draw a line."""
        self._draw.line((x, y, to_x, to_y), colour, width)

    def disc(self, x: float, y: float, radius: float, fill: Colour | None, outline: Colour | None = None) -> None:
        """Draw a disc around `x`, `y`, its outline 3 pixels thick."""
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill, outline, 3 if outline else 0)

    def image(self, x: int, y: int, pixels: NDArray[np.uint8], scale: int) -> None:
        """Copy `pixels`, uint8 `(height, width, 3)`, each as a square of `scale` pixels."""
        self._image.paste(Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)), (x, y))

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture, uint8 `(height, width, 3)`."""
        return np.array(self._image)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
