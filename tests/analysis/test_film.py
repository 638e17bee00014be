"""Films of a run's elite."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import film
from analysis.film import Recorded, film_elite, film_episode, film_genome, film_wall, typical_episode
from gadask.config import EnvConfig
from gadask.envs import make_env
from gadask.errors import EnvError, RunDirectoryError, UsageError
from gadask.messages import Kind
from gadask.record import RunDirectory, read_run
from gadask.rollout import play_episode
from gadask.seeding import stream
from gadask.task import prepare_task
from tests.analysis.pictures import decoded, has_color
from tests.analysis.recorded import FROSTBITE, GA, SWATCH, Players, Swatch, record


def test_it_shows_the_recorded_episode_nearest_to_the_elites_mean(
    recorded: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = recorded["frostbite"]
    _, state = read_run(run)
    elite = state.population.elite
    assert elite is not None
    episode = typical_episode(run, elite)
    seed, _ = episode.seeds(FROSTBITE)
    players = Players(FROSTBITE)
    with closing(players.env) as env:
        policy = players.load(elite.genome)
        played = play_episode(env, policy, seed, 90)
        one = film_episode(env, policy, seed, 90)
    assert played.return_ == episode.return_
    assert one.returns[-1] == played.return_
    assert one.steps == list(range(played.steps + 1))
    assert one.speed == 1
    assert all(np.ptp(picture.astype(int), axis=2).max() > 50 for picture in one.pictures)  # not grey
    assert len({picture.tobytes() for picture in one.pictures}) > 40

    path = film_elite(run, tmp_path / "elite.gif")
    assert path == tmp_path / "elite.gif"
    assert not caplog.records
    assert f"seed {seed}, return {episode.return_:g}".encode() in path.read_bytes()
    frames, length_s = decoded(path)
    assert length_s == pytest.approx((played.steps + 1) * 4 / 60 + 2, abs=0.02)
    for frame, picture in zip(frames, one.pictures, strict=True):
        np.testing.assert_array_equal(frame[:420], picture.repeat(2, axis=0).repeat(2, axis=1))
        assert frame.shape == (446, 320, 3)
        assert frame[420:].max() > 200  # the caption


@pytest.mark.parametrize(("name", "n_episodes"), [("swatch", 3), ("no candidates", 1), ("common", 3)])
def test_the_typical_episode_is_nearest_to_the_mean(recorded: dict[str, Path], name: str, n_episodes: int) -> None:
    config, state = read_run(recorded[name])
    elite = state.population.elite
    assert elite is not None
    episode = typical_episode(recorded[name], elite)
    seed, _ = episode.seeds(config)
    players = Players(config)
    with closing(players.env) as env:
        assert play_episode(env, players.load(elite.genome), seed, 40).return_ == episode.return_
        rows = [players.play(elite.genome, episode.kind, elite.generation, episode.slot, i) for i in range(n_episodes)]
    assert episode.kind == (Kind.EVALUATION if n_episodes > 1 else Kind.CHILD)
    assert episode.slot < (GA.candidates if n_episodes > 1 else GA.population)
    assert abs(episode.return_ - elite.mean) == min(abs(row["return"][0] - elite.mean) for row in rows)


@pytest.mark.parametrize("common", [False, True])
def test_an_episodes_seeds_are_those_it_was_played_with(common: bool) -> None:
    config = replace(SWATCH, ga=replace(GA, common_random_numbers=common))
    task = prepare_task(config)
    for kind in Kind:
        seed, actions = Recorded(kind, 2, 3, 4, 0.0).seeds(config)
        assert seed == task.env_seed(kind, 2, 3, 4)
        assert actions.random() == stream(config.seed, kind.action_purpose, 2, 3, 4).random()


def test_any_gymnasium_environment_is_filmed(run: Path) -> None:
    path = film_elite(run, max_steps=11, seed=3)
    assert path == run / "elite.gif"
    frames, _ = decoded(path)
    assert len(frames) == 7  # after 0, 2, 4, ... 10 and 11 steps
    assert frames[0].shape == (266, 320, 3)
    expected = Swatch().render().repeat(8, axis=0).repeat(8, axis=1)
    assert np.abs(frames[0][:240].astype(int) - expected).mean() < 12  # 1200 colours became 255


def test_cartpole_is_filmed_as_it_was_played(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pygame")
    config = replace(SWATCH, env=EnvConfig(id="CartPole-v1", max_steps=30))
    path = film_elite(record(tmp_path / "run", config, 1))
    assert path is not None
    assert not caplog.records
    frames, _ = decoded(path)
    assert frames[0].shape == (226, 300, 3)
    assert has_color(frames[0], "#CA9865")  # the pole


def test_any_genome_is_filmed(recorded: dict[str, Path]) -> None:
    config, state = read_run(recorded["swatch"])
    parent = state.population.parents[-1]
    players = Players(config)
    with closing(players.env) as env:
        played = play_episode(env, players.load(parent), 17, 40)
    one = film_genome(config, parent, 17)
    assert one is not None
    assert (one.steps[-1], one.returns[-1]) == (40, played.return_)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, which makes MP4 files")
def test_an_mp4_is_made_on_request(run: Path, tmp_path: Path) -> None:
    path = film_elite(run, tmp_path / "elite.mp4", max_steps=6)
    assert path is not None
    assert path.read_bytes()[4:8] == b"ftyp"


def test_several_runs_make_a_wall(recorded: dict[str, Path], tmp_path: Path) -> None:
    runs = [recorded["swatch"], recorded["single"]]
    path = film_wall(runs, tmp_path / "wall.gif", max_steps=6)
    assert path is not None
    assert b"gadask-tests/Swatch-v0, seed 5; gadask-tests/Swatch-v0, seed 5" in path.read_bytes()
    frames, _ = decoded(path)
    assert frames[0].shape[1] > 320
    assert film.main([*map(str, runs), "--out", str(tmp_path / "b.gif"), "--max-steps", "6"]) == 0
    assert (tmp_path / "b.gif").read_bytes() == path.read_bytes()
    assert film.main([*map(str, runs), "--seed", "3"]) == 2


@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_what_cannot_be_rendered_is_said_in_one_line(
    recorded: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert film_elite(recorded["unseen"]) is None
    assert [record.getMessage().partition(": TypeError")[0] for record in caplog.records] == [
        "no film: gadask-tests/Unseen-v0 cannot be rendered here"
    ]
    assert film.main([str(recorded["unseen"])]) == 1
    assert not (recorded["unseen"] / "elite.gif").exists()
    assert film_wall([recorded["unseen"]], tmp_path / "wall.gif") is None


def test_what_cannot_be_filmed_is_refused(run: Path, tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "new", SWATCH).close()
    with pytest.raises(RunDirectoryError, match="expected an elite to film, found none"):
        film_elite(tmp_path / "new")
    with pytest.raises(UsageError, match=r"expected a name that ends in \.gif, \.mp4, found '\.avi'"):
        film_elite(run, tmp_path / "elite.avi")
    with pytest.raises(EnvError, match="expected an id registered"):
        film._open(EnvConfig(id="CartPole-v99x"), 1)


def test_a_return_that_differs_from_the_recorded_one_is_logged(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = typical_episode
    monkeypatch.setattr(film, "typical_episode", lambda *arguments: replace(episode(*arguments), return_=-99.0))
    assert film_elite(run) is not None
    assert "expected return -99, found" in caplog.text


def test_a_long_film_runs_faster_and_ends_with_the_episode() -> None:
    players = Players(replace(SWATCH, env=replace(SWATCH.env, kwargs={"render_mode": "rgb_array"})))
    with closing(players.env) as env:
        policy = players.load((7,))
        one = film_episode(env, policy, 3, 5001)
        played = play_episode(env, policy, 3, 5001)
    assert one.speed == 4  # 166.7 s in at most 60
    assert 450 < len(one.pictures) <= 900
    assert one.steps == [*range(0, 5001, 8), 5001]
    assert one.returns[-1] == played.return_


def test_sprites_that_are_drawn_in_every_other_frame_are_seen() -> None:
    with closing(make_env(EnvConfig(id="ALE/Asteroids-v5"))) as env:
        env.reset(3)
        env.render()
        for _ in range(20):
            env.step(0)
            assert env.render()[30:].any()
