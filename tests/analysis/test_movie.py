"""Films as files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.movie import Film, captioned, to_gif, to_mp4, wall
from gadask.errors import RecordError, UsageError
from tests.analysis.pictures import decoded

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, which makes MP4 files")


def film(n: int, shape: tuple[int, int], color: int = 200, picture_s: float = 1 / 15, speed: int = 1) -> Film:
    pictures = [np.full((*shape, 3), (color - i) % 256, np.uint8) for i in range(n)]
    return Film(pictures, list(range(n)), [float(i) for i in range(n)], picture_s, speed)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_colors=st.integers(1, 239), extremes=st.booleans())
def test_up_to_239_colors_are_shown_exactly(seed: int, n_colors: int, extremes: bool) -> None:
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (n_colors, 3), np.uint8)
    if extremes:  # colours that the caption has too
        colors[: n_colors // 2] = np.linspace(0, 255, 16, dtype=np.uint8)[rng.integers(0, 16, n_colors // 2)][:, None]
    pictures = [colors[rng.integers(0, n_colors, (6, 170))]]
    for _ in range(3):
        changed = rng.random((6, 170, 1)) < 0.1
        pictures.append(np.where(changed, colors[rng.integers(0, n_colors, (6, 170))], pictures[-1]))
    clip = captioned(Film(pictures, [0, 1, 2, 3], [0.0, 0.5, 1.0, 1234.0], 1 / 15, 2))
    frames, length_s = decoded(to_gif(clip, "about"))
    assert [frame[:12:2, ::2].tolist() for frame in frames] == [picture.tolist() for picture in pictures]
    assert length_s == pytest.approx(4 / 15 + 2, abs=0.011)


def test_more_colors_are_shown_nearly() -> None:
    rows, columns = np.mgrid[:30, :40]
    picture = np.stack([rows * 8, columns * 6, (rows + columns) % 64 * 4], axis=2).astype(np.uint8)
    clip = captioned(Film([picture], [0], [0.0], 0.1, 1))
    (frame,), _ = decoded(to_gif(clip, "about"))
    assert np.abs(frame[:240].astype(int) - picture.repeat(8, axis=0).repeat(8, axis=1)).mean() < 12


def test_a_caption_tells_return_step_and_speed() -> None:
    plain, other = film(2, (20, 160)), film(2, (20, 160))
    before = captioned(plain).picture(1)
    assert before.shape == (66, 320, 3)
    for changed in (
        Film(other.pictures, other.steps, [0.0, 7.0], other.picture_s, 1),
        Film(other.pictures, [0, 9], other.returns, other.picture_s, 1),
        Film(other.pictures, other.steps, other.returns, other.picture_s, 2),
    ):
        after = captioned(changed).picture(1)
        assert np.array_equal(after[:40], before[:40])
        assert not np.array_equal(after[40:], before[40:])


def test_a_wall_shows_films_side_by_side_until_the_longest_ends() -> None:
    films = [film(3, (210, 160), 50), film(6, (210, 160), 150), film(2, (100, 320), 250), film(1, (80, 80), 30)]
    clip = wall(films, ["one", "two", "three", "four"])
    assert clip.n_pictures == 6
    first, last = clip.picture(0), clip.picture(4)
    assert first.shape == last.shape
    assert _at(first, 0, 0) == 50
    assert _at(last, 0, 0) == 48  # its last picture
    assert _at(first, 0, 1) == 150
    assert _at(last, 0, 1) == 146
    assert _at(first, 0, 2) == 250
    frames, _ = decoded(to_gif(clip, "wall"))
    assert len(frames) >= 5  # equal ones may be merged
    assert np.array_equal(frames[0], first)


def _at(picture: NDArray[np.uint8], row: int, column: int) -> int:
    return int(picture[row * 250 + 40, column * 168 + 80, 0])


@needs_ffmpeg
def test_an_mp4_plays_as_long_as_the_film(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(to_mp4(captioned(film(30, (21, 161))), "about it"))
    command = [
        "ffprobe",
        "-v",
        "error",
        "-show_entries",
        "stream=width,height,codec_name,pix_fmt:format=duration:format_tags=comment",
    ]
    found = subprocess.run([*command, "-of", "flat", str(path)], capture_output=True, text=True, check=True).stdout
    assert 'codec_name="h264"' in found
    assert 'pix_fmt="yuv420p"' in found
    assert "width=322" in found
    assert "height=68" in found
    assert 'comment="about it"' in found
    assert 'duration="4.000000"' in found


def test_without_ffmpeg_an_mp4_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UsageError, match=r"an \.mp4 file needs the program ffmpeg, found none; install it, or write \.gif"
    ):
        to_mp4(captioned(film(1, (8, 8))), "about")


def test_what_ffmpeg_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'no encoder here' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(RecordError, match=r"ffmpeg: expected a film, found none: no encoder here; write \.gif"):
        to_mp4(captioned(film(400, (100, 160))), "about")
