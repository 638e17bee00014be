"""Films as files."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.analysis.movie import Film, captioned, to_gif, to_mp4, wall
from gadask.errors import RecordError, UsageError
from tests.analysis.pictures import decoded

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None and not os.environ.get("CI"),
    reason="ffmpeg, which makes MP4 files, is not installed: apt-get install ffmpeg",
)


def film(n: int, shape: tuple[int, int], color: int = 200, picture_s: float = 1 / 15, speed: int = 1) -> Film:
    pictures = [np.full((*shape, 3), (color - i) % 256, np.uint8) for i in range(n)]
    actions = [f"action {i}" for i in range(n)]
    return Film(pictures, list(range(n)), [float(i) for i in range(n)], actions, picture_s, speed)


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
    clip = captioned(Film(pictures, [0, 1, 2, 3], [0.0, 0.5, 1.0, 1234.0], ["", "UP", "UP", "FIRE"], 1 / 15, 2))
    frames, length_s = decoded(to_gif(clip, "about"))
    assert [frame[:12:2, ::2].tolist() for frame in frames] == [picture.tolist() for picture in pictures]
    assert length_s == pytest.approx(4 / 15 + 2, abs=0.011)


def test_more_colors_are_shown_nearly() -> None:
    rows, columns = np.mgrid[:30, :40]
    picture = np.stack([rows * 8, columns * 6, (rows + columns) % 64 * 4], axis=2).astype(np.uint8)
    clip = captioned(Film([picture], [0], [0.0], [""], 0.1, 1))
    (frame,), _ = decoded(to_gif(clip, "about"))
    assert np.abs(frame[:240].astype(int) - picture.repeat(8, axis=0).repeat(8, axis=1)).mean() < 12


def test_a_caption_tells_return_step_speed_and_action() -> None:
    plain = film(2, (20, 160))
    before = captioned(plain).picture(1)
    assert before.shape == (92, 320, 3)
    for changed, line in (
        (replace(plain, returns=[0.0, 7.0]), 0),
        (replace(plain, steps=[0, 9]), 0),
        (replace(plain, speed=2), 0),
        (replace(plain, actions=["", "UPFIRE"]), 1),
    ):
        after = captioned(changed).picture(1)
        assert np.array_equal(after[:40], before[:40])
        is_changed = [not np.array_equal(after[rows], before[rows]) for rows in (slice(40, 66), slice(66, 92))]
        assert is_changed == [line == 0, line == 1]


def test_the_policys_input_stands_on_the_right() -> None:
    plain = film(3, (210, 160))
    stacks = [np.arange(4, dtype=np.uint8)[:, None, None] * np.full((4, 84, 84), 16 + i, np.uint8) for i in range(3)]
    alone, both = captioned(plain).picture(2), captioned(replace(plain, inputs=stacks)).picture(2)
    assert np.array_equal(both[:, :320], alone)
    assert both.shape == (472, 320 + 8 + 336, 3)
    assert (both[:336, 328:] == 3 * 18 // 4 * 4).all()  # the newest
    assert (both[420:, 328:].max(axis=(1, 2)) > 200).any()  # the caption


def test_films_of_a_wall_run_at_their_own_pace() -> None:
    fast, slow = film(8, (100, 160), 50, picture_s=0.1), film(3, (100, 160), 150, picture_s=0.4)
    clip = wall([fast, slow], ["fast", "slow"])
    assert (clip.n_pictures, clip.picture_s) == (12, 0.1)
    shown = [(_at(clip.picture(i), 0, 0), _at(clip.picture(i), 0, 1)) for i in (0, 3, 4, 7, 8, 11)]
    assert shown == [(50, 150), (47, 150), (46, 149), (43, 149), (43, 148), (43, 148)]


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
    assert "height=94" in found
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
