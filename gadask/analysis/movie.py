"""Films as files: pictures with a caption below, one film or a wall of several, as GIF or MP4.

A film may have the policy's input on its right; a wall has neither inputs nor actions.

A GIF's pictures share one palette, which is exact up to 255 colours; an Atari game and its caption have fewer. An MP4
(H.264) is made by the program ffmpeg, which must be installed; nothing else needs it.
"""

from __future__ import annotations

import contextlib
import io
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gadask.analysis.policy_input import draw_inputs
from gadask.envs.base import Observation
from gadask.errors import RecordError, UsageError
from gadask.units import number_text

Picture = NDArray[np.uint8]
"""In colour, uint8 `(height, width, 3)`."""

LAST_PICTURE_S = 2.0
_WIDTH, _FONT_SIZE, _CAPTION_HEIGHT = 320, 16, 26  # pixels; the width roughly
_TILE_WIDTH, _GAP, _TILE_FONT_SIZE, _TILE_CAPTION_HEIGHT = 160, 8, 11, 18
_N_GREYS = 16  # of a caption, so that games keep their colours in a GIF
_N_COLORS = 255  # one more stands for transparent
_RGB = np.array([1 << 16, 1 << 8, 1], np.uint32)


@dataclass(frozen=True)
class Film:
    """Pictures of one episode, equally many steps apart but for the last, which is its end."""

    pictures: list[Picture]
    steps: list[int]
    """Agent steps played when each picture was taken."""
    returns: list[float]
    """Sum of the rewards when each picture was taken."""
    actions: list[str]
    """The action that led to each picture, in words; empty for the first."""
    picture_s: float
    """Seconds for which each picture is shown."""
    speed: int
    """How many times as fast as the environment the film runs."""
    inputs: Sequence[Observation] | None = None
    """What the policy is given at each picture; None to leave it out."""


@dataclass(frozen=True)
class Clip:
    """Pictures of one size, made when asked for."""

    n_pictures: int
    picture: Callable[[int], Picture]
    picture_s: float
    """Seconds for which each is shown; the last one stays for `LAST_PICTURE_S` more."""


def captioned(film: Film) -> Clip:
    """Return the film, enlarged by a whole factor to about 320 pixels, with return, step and action below."""
    height, width, _ = film.pictures[0].shape
    factor = max(1, round(_WIDTH / width))

    def picture(i: int) -> Picture:
        large = film.pictures[i].repeat(factor, axis=0).repeat(factor, axis=1)
        first = _score(film.returns[i]), _pace(film.steps[i], film.speed)
        return _with_lines(large, first, (film.actions[i], ""))

    if film.inputs is None:
        return Clip(len(film.pictures), picture, film.picture_s)
    draw, about = draw_inputs(film.inputs, height * factor)

    def both(i: int) -> Picture:
        panel = _with_lines(draw(i), ("policy's input", ""), (about, ""))
        return np.concatenate([picture(i), np.zeros((len(panel), _GAP, 3), np.uint8), panel], axis=1)

    return Clip(len(film.pictures), both, film.picture_s)


def wall(films: Sequence[Film], names: Sequence[str]) -> Clip:
    """Return several films side by side, at least one; one that has ended shows its last picture."""
    n_columns = len(films) if len(films) < 4 else math.ceil(math.sqrt(1.5 * len(films)))
    tiles = list(zip(films, names, strict=True))
    rows = [tiles[i : i + n_columns] for i in range(0, len(tiles), n_columns)]

    picture_s = min(film.picture_s for film in films)

    def picture(i: int) -> Picture:
        return np.concatenate([_row([_tile(*tile, i * picture_s) for tile in row], n_columns) for row in rows])

    length_s = max(len(film.pictures) * film.picture_s for film in films)
    return Clip(round(length_s / picture_s), picture, picture_s)


def to_gif(clip: Clip, about: str) -> bytes:
    """Return a GIF that runs in a loop; `about` becomes its comment."""
    palette, to_indices = _shared_palette(clip)
    colors = np.concatenate([palette, palette[:1]]).tobytes()  # the last one stands for transparent
    images = []
    for i in range(clip.n_pictures):
        image = Image.fromarray(to_indices(clip.picture(i)))
        image.putpalette(colors)
        images.append(image)
    ends_cs = [round(100 * clip.picture_s * (i + 1)) for i in range(len(images))]  # a GIF counts hundredths
    durations_ms = [10 * (end - start) for start, end in zip([0, *ends_cs], ends_cs, strict=False)]
    durations_ms[-1] += round(1000 * LAST_PICTURE_S)
    content = io.BytesIO()
    images[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=durations_ms,
        loop=0,
        palette=colors,  # one for all pictures
        transparency=len(palette),
        optimize=True,  # what stays the same is transparent
        comment=about.encode(),
    )
    return content.getvalue()


def to_mp4(clip: Clip, about: str) -> bytes:
    """Return an MP4; `about` becomes its comment.

    Raises:
        UsageError: there is no ffmpeg here.
        RecordError: ffmpeg failed.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise UsageError("an .mp4 file needs the program ffmpeg, found none; install it, or write .gif")
    height, width, _ = clip.picture(0).shape
    n_last = round(LAST_PICTURE_S / clip.picture_s)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "film.mp4"
        raw = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            f"{1 / clip.picture_s:.6f}",
            "-i",
            "-",
        ]
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]  # what every player takes
        command = [ffmpeg, "-loglevel", "error", *raw, *even, "-c:v", "libx264", "-movflags", "+faststart"]
        command += ["-metadata", f"comment={about}", str(path)]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
            assert process.stdin is not None
            try:
                for i in [*range(clip.n_pictures), *[clip.n_pictures - 1] * n_last]:
                    process.stdin.write(clip.picture(i).tobytes())
            except BrokenPipeError:
                pass  # it has ended, and says why
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                status = process.wait()
            if status or not path.exists():
                errors.seek(0)
                reason = errors.read().decode(errors="replace").strip().partition("\n")[0]
                raise RecordError(f"ffmpeg: expected a film, found none: {reason or 'no reason given'}; write .gif")
        return path.read_bytes()


def _with_lines(picture: Picture, *lines: tuple[str, str]) -> Picture:
    """Return a picture with lines of text below, each with something on its left and on its right."""
    captions = [_caption(picture.shape[1], *line, _FONT_SIZE, _CAPTION_HEIGHT) for line in lines]
    return np.concatenate([picture, *captions])


def _tile(film: Film, name: str, now_s: float) -> Picture:
    """Return one picture of a wall, its name above and its return below."""
    i = min(int(now_s / film.picture_s + 1e-6), len(film.pictures) - 1)
    height, width = film.pictures[i].shape[:2]
    size = _TILE_WIDTH, round(height * _TILE_WIDTH / width)
    how = Image.Resampling.BOX if width > _TILE_WIDTH else Image.Resampling.NEAREST
    picture = np.array(Image.fromarray(film.pictures[i]).resize(size, how))
    above = _caption(_TILE_WIDTH, name, "", _TILE_FONT_SIZE, _TILE_CAPTION_HEIGHT)
    pace = _pace(film.steps[i], film.speed)
    below = _caption(_TILE_WIDTH, _score(film.returns[i]), pace, _TILE_FONT_SIZE, _TILE_CAPTION_HEIGHT)
    return np.concatenate([above, picture, below])


def _row(tiles: Sequence[Picture], n_columns: int) -> Picture:
    """Return tiles of equal width side by side, black where there is none."""
    row = np.zeros((max(map(len, tiles)) + _GAP, n_columns * (_TILE_WIDTH + _GAP), 3), np.uint8)
    for place, tile in enumerate(tiles):
        left = place * (_TILE_WIDTH + _GAP)
        row[: len(tile), left : left + _TILE_WIDTH] = tile
    return row


def _score(return_: float) -> str:
    return f"return {number_text(return_)}"


def _pace(steps: int, speed: int) -> str:
    return f"step {steps:,}" if speed == 1 else f"step {steps:,}  {speed}x"  # the font has no ×


def _caption(width: int, left: str, right: str, font_size: int, height: int) -> Picture:
    """Return a line of white text on black, `(height, width, 3)`, in `_N_GREYS` greys."""
    image = Image.new("L", (width, height))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(font_size)
    draw.text((font_size // 2, height // 2), left, fill=255, font=font, anchor="lm")
    draw.text((width - font_size // 2, height // 2), right, fill=255, font=font, anchor="rm")
    greys = np.array(image) // np.uint8(256 // _N_GREYS) * np.uint8(255 // (_N_GREYS - 1))
    return greys[:, :, None].repeat(3, axis=2)


def _shared_palette(clip: Clip) -> tuple[Picture, Callable[[Picture], NDArray[np.uint8]]]:
    """Return at most `_N_COLORS` colours, uint8 `(n, 3)`, and what turns a picture into indices of them."""
    seen = np.zeros(1 << 24, np.bool_)
    for i in range(clip.n_pictures):
        seen[clip.picture(i) @ _RGB] = True
    colors = np.flatnonzero(seen)
    if len(colors) <= _N_COLORS:
        index = np.zeros(1 << 24, np.uint8)
        index[colors] = np.arange(len(colors))
        palette = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
        return palette, lambda picture: index[picture @ _RGB]
    sample = np.concatenate([clip.picture(i) for i in range(0, clip.n_pictures, max(1, clip.n_pictures // 16))])
    reference = Image.fromarray(sample).quantize(_N_COLORS)
    palette = np.array(reference.getpalette(), np.uint8).reshape(-1, 3)[:_N_COLORS]

    def nearest(picture: Picture) -> NDArray[np.uint8]:
        dither = Image.Dither.NONE  # dots that change from picture to picture
        return np.array(Image.fromarray(picture).quantize(palette=reference, dither=dither))

    return palette, nearest
