"""What a policy was given, as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.analysis.policy_input import draw_inputs
from tests.analysis.pictures import has_color

ABOVE, BELOW = "#56B4E9", "#E69F00"


def drawn(*inputs: NDArray[np.generic], height: int = 420, i: int = 0) -> NDArray[np.uint8]:
    return draw_inputs(inputs, height)[0](i)


def test_a_stack_shows_its_newest_picture_enlarged_and_all_of_them_below() -> None:
    stack = np.arange(4, dtype=np.uint8)[:, None, None] * np.full((4, 84, 84), 40, np.uint8)
    stack[3, 10, 20] = 252
    picture = drawn(stack)
    assert picture.shape == (420, 336, 3)
    large = picture[:336, :, 0]
    assert (large[40:44, 80:84] == 252).all()  # a pixel is a square
    assert (large == 252).sum() == 16
    assert [int(picture[400, x, 0]) for x in (10, 94, 178, 262)] == [0, 40, 80, 120]
    assert draw_inputs([stack], 420)[1] == "the last 4 of 84 x 84"


def test_an_image_of_three_channels_is_in_colour() -> None:
    image = np.zeros((3, 16, 16), np.uint8)
    image[:, 4, 8] = 10, 200, 30
    picture = drawn(image)
    assert picture.shape == (420, 416, 3)
    assert (picture == (10, 200, 30)).all(axis=2).sum() == 26 * 26


def test_an_image_higher_than_the_picture_is_shrunk() -> None:
    assert drawn(np.full((1, 200, 100), 100, np.uint8), height=50).shape == (50, 25, 3)


def test_images_of_floats_are_scaled_over_the_film() -> None:
    dark, light = np.full((1, 10, 10), -1.0), np.full((1, 10, 10), 3.0)
    assert drawn(dark, light, i=0).max() == 0
    assert drawn(dark, light, i=1).max() == 252


def test_a_bars_full_length_is_its_entrys_largest_magnitude() -> None:
    inputs = [np.array([0.5, -200.0, 0.0]), np.array([1.0, 100.0, 0.0])]

    def lengths(i: int, color: str) -> list[int]:
        picture = drawn(*inputs, i=i)
        is_bar = (picture == tuple(bytes.fromhex(color[1:]))).all(axis=2)
        return [int(rows.any(axis=0).sum()) for rows in np.split(is_bar[168:252], 3)]

    assert lengths(1, ABOVE) == [51, 26 - 1, 0] or lengths(1, ABOVE) == [51, 25, 0]
    assert lengths(0, BELOW) == [0, 52, 0]


@pytest.mark.parametrize("n", [1, 2, 11, 17, 52, 348, 1000])
def test_vectors_of_any_length_have_a_bar_for_each_entry(n: int) -> None:
    picture = drawn(np.ones(n, np.float32), height=400)
    assert len(picture) == 400
    assert has_color(picture, ABOVE)
    assert not has_color(picture, BELOW)
    assert picture.shape[1] == {1: 200, 2: 200, 11: 200, 17: 200, 52: 400, 348: 390, 1000: 1080}[n]
