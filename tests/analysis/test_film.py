"""Films of a run's elite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gadask.algorithms.algorithm import Elite
from gadask.analysis import film
from gadask.analysis.camera import film_episode
from gadask.analysis.film import Recorded, film_elite, film_genome, film_wall, typical_episode
from gadask.config import Config, EnvConfig, dump_config
from gadask.errors import RunDirectoryError, UsageError
from gadask.genomes.seeding import stream
from gadask.master.evaluate import choose_genome
from gadask.master.task import prepare_task
from gadask.messages import Kind, Status
from gadask.observations import Normaliser
from gadask.play.rollout import play_episode
from gadask.record.directory import RunDirectory, read_run
from gadask.record.episodes import episode_table, episodes_path, to_parquet
from gadask.rows import ROW
from tests.analysis.pictures import decoded, has_color
from tests.analysis.recorded import FROSTBITE, GENERATION, SWATCH, Players, Swatch, record
from tests.analysis.test_movie import needs_ffmpeg
from tests.generations import bases_of


def test_it_shows_the_recorded_episode_nearest_to_the_elites_mean(
    recorded: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = recorded["frostbite"]
    _, state = read_run(run)
    elite = state.elite
    assert elite is not None
    episode = typical_episode(run, FROSTBITE, elite)
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
        assert frame.shape == (472, 320, 3)
        assert frame[420:].max() > 200  # the caption


@pytest.mark.parametrize(("name", "n_episodes"), [("swatch", 3), ("no candidates", 1), ("common", 3)])
def test_the_typical_episode_is_nearest_to_the_mean(recorded: dict[str, Path], name: str, n_episodes: int) -> None:
    config, state = read_run(recorded[name])
    elite = state.elite
    assert elite is not None
    episode = typical_episode(recorded[name], config, elite)
    seed, _ = episode.seeds(config)
    players = Players(config)
    with closing(players.env) as env:
        assert play_episode(env, players.load(elite.genome), seed, 40).return_ == episode.return_
        rows = [players.play(elite.genome, episode.kind, elite.generation, episode.slot, i) for i in range(n_episodes)]
    assert episode.kind == (Kind.EVALUATION if n_episodes > 1 else Kind.CHILD)
    assert episode.slot < (GENERATION.candidates if n_episodes > 1 else GENERATION.population)
    assert abs(episode.return_ - elite.mean) == min(abs(row["return"][0] - elite.mean) for row in rows)


@pytest.mark.parametrize(
    ("last", "slot"), [(7, 1), ((7, -0.05), 2)], ids=["the run's own weight", "the other half of the pair"]
)
def test_a_child_is_found_by_its_gene_and_weight(tmp_path: Path, last: Any, slot: int) -> None:
    config = replace(SWATCH, generation=replace(GENERATION, candidates=0))
    _close_generation(tmp_path, config, [(Kind.CHILD, 1, 4.0), (Kind.CHILD, 2, 6.0)], [], "3-7")
    assert typical_episode(tmp_path, config, Elite((3, last), 4.0, 1, 0)).slot == slot


def test_with_fitness_the_typical_episode_is_that_of_their_mean_return(tmp_path: Path) -> None:
    rows = [(Kind.EVALUATION, 0, return_) for return_ in (1.0, 5.0, 12.0)]
    _close_generation(tmp_path, SWATCH, rows, ["3-7"], "3-7")
    assert typical_episode(tmp_path, SWATCH, Elite((3, 7), -400.0, 3, 0)).return_ == 5.0


def _close_generation(
    path: Path, config: Config, rows: list[tuple[Kind, int, float]], candidates: list[str], elite: str
) -> None:
    """Record generation 0 of a run with these episodes; children alone differ in the sign of their weight."""
    table = np.zeros(len(rows), ROW)
    for place, (kind, slot, return_) in enumerate(rows):
        table[["kind", "slot", "episode", "return", "status"]][place] = (kind, slot, place, return_, Status.OK)
    weight = config.ga.mutation_power * np.where(table["slot"] == 2, -1, 1)
    n = len(rows)
    episodes = episode_table(table, parent=[0] * n, gene=[7] * n, weight=weight, node=["a"] * n, counted=[True] * n)
    line = {
        "generation": 0,
        "parents": ["3"],
        "candidates": [{"genome": text} for text in candidates],
        "elite": {"genome": elite},
    }
    episodes_path(path, 0).parent.mkdir()
    episodes_path(path, 0).write_bytes(to_parquet(episodes))
    (path / "generations.jsonl").write_text(json.dumps(line) + "\n")


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_an_episodes_seeds_are_those_it_was_played_with(common: bool, paired: bool) -> None:
    generation = replace(
        GENERATION, common_random_numbers=common, paired_tasks=paired, episodes_per_child=2, candidate_episodes=4
    )
    env = replace(SWATCH.env, id=f"tests.analysis.recorded:{SWATCH.env.id}")
    config = replace(SWATCH, env=env, generation=generation)
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
    assert frames[0].shape == (292, 320, 3)
    expected = Swatch().render().repeat(8, axis=0).repeat(8, axis=1)
    assert np.abs(frames[0][:240].astype(int) - expected).mean() < 12  # 1200 colours became 255


def test_a_chosen_episode_may_be_as_long_as_one_of_a_test(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = read_run(run)
    longer = replace(config, env=replace(config.env, test_max_steps=config.env.max_steps + 4))
    (run / "config.toml").write_text(dump_config(longer))
    limits: list[int] = []
    monkeypatch.setattr(film, "film_genome", lambda *arguments: limits.append(arguments[5]))
    for seed, max_steps in ((3, None), (None, None), (3, 2), (None, 10**6)):
        film_elite(run, max_steps=max_steps, seed=seed)
    recorded, of_test = config.env.max_steps, config.env.max_steps + 4
    assert limits == [of_test, recorded, 2, recorded]


def test_cartpole_is_filmed_as_it_was_played(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    config = replace(SWATCH, env=EnvConfig(id="CartPole-v1", max_steps=30))
    path = record(tmp_path / "run", config, 1) / "elite.gif"
    result = subprocess.run(
        [sys.executable, "-m", "gadask", "film", str(path.parent)],
        env={key: value for key, value in os.environ.items() if key not in ("DISPLAY", "SDL_VIDEODRIVER")},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    frames, _ = decoded(path)
    assert frames[0].shape == (452, 600, 3)
    assert has_color(frames[0], "#CA9865")  # the pole


def test_any_genome_is_filmed(recorded: dict[str, Path]) -> None:
    config, state = read_run(recorded["swatch"])
    parent = bases_of(config, state)[-1]
    players = Players(config)
    with closing(players.env) as env:
        played = play_episode(env, players.load(parent), 17, 40)
    one = film_genome(recorded["swatch"], config, parent, 17)
    assert one is not None
    assert (one.steps[-1], one.returns[-1]) == (40, played.return_)


def test_best_and_last_are_genomes_too(recorded: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    filmed: list[Any] = []
    monkeypatch.setattr(film, "film_elite", lambda *arguments: filmed.append(arguments[4]))
    run = recorded["swatch"]
    for name in ("last", "best", "17-42*-0.5"):
        film.main([str(run), "--seed", "1", "--genome", name])
    assert filmed == [None, choose_genome(run, "best"), (17, (42, -0.5))]


@needs_ffmpeg
def test_an_mp4_is_made_on_request(run: Path, tmp_path: Path) -> None:
    path = film_elite(run, tmp_path / "elite.mp4", max_steps=6)
    assert path is not None
    assert path.read_bytes()[4:8] == b"ftyp"


def test_several_runs_make_a_wall(recorded: dict[str, Path], tmp_path: Path) -> None:
    runs = [recorded["swatch"], recorded["single"]]
    path = film_wall(runs, tmp_path / "wall.gif", max_steps=6)
    assert path is not None
    assert b"Swatch-v0, seed 5; Swatch-v0, seed 5" in path.read_bytes()
    frames, _ = decoded(path)
    assert frames[0].shape[1] > 320
    assert film.main([*map(str, runs), "--out", str(tmp_path / "b.gif"), "--max-steps", "6"]) == 0
    assert (tmp_path / "b.gif").read_bytes() == path.read_bytes()


def test_what_is_for_one_run_is_refused_with_several(
    recorded: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (["--seed", "3"], ["--genome", "1-2"], ["--input"]):
        assert film.main([str(recorded["swatch"]), str(recorded["single"]), *flags]) == 2
        assert capsys.readouterr().err == (
            f"error: {flags[0]}: expected with one run, found it with 2; leave it out for a wall\n"
        )


def test_what_the_policy_is_given_is_shown_on_request(run: Path, tmp_path: Path) -> None:
    plain, both = tmp_path / "plain.gif", tmp_path / "both.gif"
    assert film.main([str(run), "--max-steps", "6", "--out", str(plain)]) == 0
    assert film.main([str(run), "--max-steps", "6", "--out", str(both), "--input"]) == 0
    assert decoded(both)[0][0].shape[1] > decoded(plain)[0][0].shape[1] + 100


def test_inputs_are_normalised_as_the_network_gets_them(recorded: dict[str, Path]) -> None:
    config, _ = read_run(recorded["swatch"])
    normaliser = Normaliser((0.5, 0.0), (0.25, 0.01))
    raw = film_genome(recorded["swatch"], config, (7,), 17, max_steps=6, with_inputs=True)
    normalised = film_genome(recorded["swatch"], config, (7,), 17, max_steps=6, normaliser=normaliser, with_inputs=True)
    assert raw is not None
    assert normalised is not None
    assert raw.inputs is not None
    assert normalised.inputs is not None
    expected = np.clip((np.array(raw.inputs) - [0.5, 0.0]) * [4, 100], -5, 5)
    np.testing.assert_allclose(np.array(normalised.inputs), expected, atol=1e-5)


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


def test_a_return_that_differs_from_the_recorded_one_is_logged(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = typical_episode
    monkeypatch.setattr(film, "typical_episode", lambda *arguments: replace(episode(*arguments), return_=-99.0))
    assert film_elite(run) is not None
    assert "expected return -99, found" in caplog.text
