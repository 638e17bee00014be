"""Learning curves and films: drawn from small run directories that are recorded as the master records them."""

from __future__ import annotations

import io
import json
import math
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from analysis import film, learning_curve
from analysis.film import Film, film_elite, film_episode, to_gif, typical_episode
from analysis.learning_curve import draw_learning_curve, read_curve
from gadask.config import Config, EnvConfig, GAConfig, NoiseConfig, PolicyConfig
from gadask.envs import make_env
from gadask.errors import EnvError, RecordError, RunDirectoryError, UsageError
from gadask.genome import child_genome, count_genes, draw_child
from gadask.ledger import Ledger, Quota
from gadask.messages import ROW, Breeding, Genome, Kind
from gadask.noise import LazyNoise
from gadask.policies import Policy, make_policy
from gadask.record import RunDirectory, State, episode_table, read_generations, read_run
from gadask.rollout import play_episode
from gadask.seeding import env_seed
from gadask.selection import Scored, advance, choose_candidates
from gadask.summary import Timing, log_line
from gadask.weights import decode


class Swatch(gymnasium.Env):  # type: ignore[misc]  # Gymnasium is untyped here
    """A picture of many colours that drifts; the reward is the action taken, times a half. It never ends."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start again."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Go on."""
        self._steps += 1
        return self._observation(), action / 2, False, False, {}

    def render(self) -> NDArray[np.uint8]:
        """Return 1,200 colours."""
        rows, columns = np.mgrid[:30, :40]
        return np.stack([rows * 8, columns * 6, (rows + columns + self._steps) % 64 * 4], axis=2).astype(np.uint8)

    def _observation(self) -> NDArray[np.float32]:
        observation: NDArray[np.float32] = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return observation


class Unseen(Swatch):
    """The same without pictures."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def render(self) -> None:  # type: ignore[override]
        """Return nothing."""


gymnasium.register("gadask-tests/Swatch-v0", Swatch)
gymnasium.register("gadask-tests/Unseen-v0", Unseen)

GA = GAConfig(population=6, parents=3, mutation_power=0.05, candidates=2, candidate_episodes=3)
SWATCH = Config(
    seed=5,
    env=EnvConfig(id="gadask-tests/Swatch-v0", max_steps=40),
    policy=PolicyConfig(kind="mlp", kwargs={"hidden": "4"}),
    noise=NoiseConfig(size=2000),
    ga=GA,
)
FROSTBITE = replace(
    SWATCH,
    env=EnvConfig(id="ALE/Frostbite-v5", max_steps=90),
    policy=PolicyConfig(kind="nature"),
    noise=NoiseConfig(size=1_700_000),
    ga=replace(GA, population=2, parents=2, mutation_power=0.01, candidate_episodes=2),
)


@dataclass
class Players:
    """Environment and policy that play any genome of a config."""

    config: Config

    def __post_init__(self) -> None:
        self.env = make_env(self.config.env)
        self.policy = make_policy(self.config.policy, self.env.observation_space, self.env.action_space)
        self.noise = LazyNoise(self.config.noise)

    def load(self, genome: Genome) -> Policy:
        """Return the policy with a genome's weights."""
        policy = self.policy

        decode(policy.flat, genome, self.noise, policy.initialise, self.config.ga.mutation_power)
        return policy

    def play(self, genome: Genome, kind: Kind, generation: int, slot: int, episode: int) -> NDArray[np.void]:
        """Return the row of one episode."""
        seed = env_seed(self.config.seed, kind.purpose, generation, slot, episode)
        result = play_episode(self.env, self.load(genome), seed, self.config.env.max_steps)
        row = np.zeros(1, ROW)
        row[["generation", "slot", "episode", "steps", "frames", "return", "kind", "status"]] = (
            (generation, slot, episode, result.steps, result.frames, result.return_, kind, result.status)
        )  # fmt: skip
        return row


def record(path: Path, config: Config, n_generations: int) -> Path:
    """Evolve in this process and record it."""
    players = Players(config)
    n_genes = count_genes(config.noise.size, players.policy.n_params)
    ga, state = config.ga, State()
    with closing(players.env), RunDirectory.create(path, config) as directory:
        for generation in range(n_generations):
            population = state.population
            drawn = [
                draw_child(config.seed, generation, slot, population.parents, n_genes) for slot in range(ga.population)
            ]
            genomes = [child_genome(population.parents, *draw) for draw in drawn]
            rows = [players.play(genome, Kind.CHILD, generation, slot, 0) for slot, genome in enumerate(genomes)]
            children = [Scored(genome, float(rows[slot]["return"][0]), slot) for slot, genome in enumerate(genomes)]
            candidates = choose_candidates(ga, population, children)
            evaluations: dict[int, list[float]] = {}
            for slot, genome in enumerate(candidates):
                own = [players.play(genome, Kind.EVALUATION, generation, slot, i) for i in range(ga.candidate_episodes)]
                evaluations[slot] = [float(row["return"][0]) for row in own]
                rows += own
            table = np.concatenate(rows)
            counted = np.zeros(len(table), np.uint8)
            breeding = Breeding(generation, population.parents, candidates)
            after = advance(ga, population, children, evaluations)
            ledger = Ledger(Quota(generation, ga.population))
            timing = Timing(1.0, 1.0, 1.0, 0.0, 1, 1)
            line = log_line(breeding, table, counted, evaluations, after.elite, ledger, timing)
            frames, steps = (getattr(state, name) + int(table[name].sum()) for name in ("frames", "steps"))
            state = replace(state, population=after, frames=frames, steps=steps, episodes=state.episodes + len(table))
            line["total"] = {"frames": frames, "steps": steps, "episodes": state.episodes}
            n_others = len(table) - ga.population
            parent, gene = (np.array([*column, *[-1] * n_others]) for column in zip(*drawn, strict=True))
            node = ["a"] * len(table)
            directory.close_generation(
                episode_table(table, parent=parent, gene=gene, node=node, counted=counted == 0), line, state
            )
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    configs = {
        "swatch": (SWATCH, 3),
        "single": (SWATCH, 1),
        "no candidates": (replace(SWATCH, ga=replace(GA, candidates=0)), 2),
        "unseen": (replace(SWATCH, env=replace(SWATCH.env, id="gadask-tests/Unseen-v0")), 1),
        "frostbite": (FROSTBITE, 2),
    }
    return {name: record(base / name, *arguments) for name, arguments in configs.items()}


@pytest.fixture
def run(recorded: dict[str, Path], tmp_path: Path) -> Path:
    """A run directory of three generations to write to."""
    return Path(shutil.copytree(recorded["swatch"], tmp_path / "run"))


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
    return bool((picture == tuple(bytes.fromhex(color[1:]))).all(axis=2).any())


@pytest.mark.parametrize("name", ["swatch", "single", "no candidates", "frostbite"])
def test_a_learning_curve_shows_children_and_elite(recorded: dict[str, Path], tmp_path: Path, name: str) -> None:
    path = draw_learning_curve(recorded[name], tmp_path / "curve.png")
    picture = np.array(Image.open(path).convert("RGB"))
    assert picture.shape[0] >= 600
    assert picture.shape[1] >= 1000
    assert has_color(picture, "#D55E00")
    assert has_color(picture, "#0072B2")
    assert 0.02 < (picture < 250).any(axis=2).mean() < 0.9


def test_a_learning_curve_is_drawn_into_the_run_directory_and_the_same_each_time(run: Path) -> None:
    assert draw_learning_curve(run) == run / "learning_curve.png"
    first = (run / "learning_curve.png").read_bytes()
    assert draw_learning_curve(run).read_bytes() == first


def test_the_elite_test_is_drawn(run: Path) -> None:
    without = draw_learning_curve(run).read_bytes()
    (run / "elite_test.json").write_text(json.dumps({"generation": 2, "genome": "7", "returns": [1.0, 2.0, 4.0]}))
    assert draw_learning_curve(run).read_bytes() != without
    for text in ("{", '{"returns": "x"}', "[]"):
        (run / "elite_test.json").write_text(text)
        with pytest.raises(RecordError, match=r"elite_test.json: damaged"):
            draw_learning_curve(run)


def test_the_elites_standard_error_comes_from_its_evaluation_episodes(run: Path) -> None:
    lines = list(read_generations(run))
    curve = read_curve(run, lines)
    players = Players(SWATCH)
    with closing(players.env):
        for line, mean, error in zip(lines, curve.elite_mean, curve.elite_error, strict=True):
            texts = [candidate["genome"] for candidate in line["candidates"]]
            slot = texts.index(line["elite"]["genome"])
            genome = tuple(map(int, texts[slot].split("-")))
            rows = [players.play(genome, Kind.EVALUATION, line["generation"], slot, i) for i in range(3)]
            returns = np.concatenate(rows)["return"]
            assert mean == pytest.approx(returns.mean())
            assert error == pytest.approx(returns.std(ddof=1) / math.sqrt(3))
    assert curve.frames.tolist() == [line["total"]["frames"] for line in lines]


def test_a_learning_curve_needs_the_log_alone(run: Path) -> None:
    shutil.rmtree(run / "episodes")
    assert np.isnan(read_curve(run, list(read_generations(run))).elite_error).all()
    assert draw_learning_curve(run).exists()


def test_generations_without_elite_or_valid_children_leave_a_gap(run: Path) -> None:
    lines = list(read_generations(run))
    lines[0] |= {"elite": None, "children": {"n": 0, "mean": None, "quantiles": {}}}
    curve = read_curve(run, lines)
    assert np.isnan([curve.elite_mean[0], curve.elite_error[0], curve.quantiles["0.5"][0]]).all()
    assert np.isfinite(curve.elite_mean[1:]).all()


def test_what_cannot_be_drawn_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg, found '\.jpg'"):
        draw_learning_curve(run, tmp_path / "curve.jpg")
    with pytest.raises(RecordError, match=r"no/curve\.png"):
        draw_learning_curve(run, tmp_path / "no" / "curve.png")
    RunDirectory.create(tmp_path / "new", SWATCH).close()
    with pytest.raises(RunDirectoryError, match="at least one closed generation, found none"):
        draw_learning_curve(tmp_path / "new")
    with pytest.raises(RunDirectoryError, match="expected an elite to film, found none"):
        film_elite(tmp_path / "new")


@pytest.mark.parametrize("main", [learning_curve.main, film.main])
def test_commands_answer_in_one_line(main: Any, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suffix = "png" if main is learning_curve.main else "gif"
    assert main([str(run), "--output", str(tmp_path / f"out.{suffix}")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}.{suffix}\n"
    assert (tmp_path / f"out.{suffix}").exists()
    assert main([str(tmp_path / "missing")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {tmp_path / 'missing'}: ")
    assert output.err.count("\n") == 1
    assert main([str(run), "--output", str(tmp_path / "no" / f"out.{suffix}")]) == 1


def test_the_film_shows_the_recorded_episode_nearest_to_the_elites_mean(
    recorded: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = recorded["frostbite"]
    _, state = read_run(run)
    elite = state.population.elite
    assert elite is not None
    seed, recorded_return = typical_episode(run, FROSTBITE.seed, elite)
    players = Players(FROSTBITE)
    with closing(players.env) as env:
        policy = players.load(elite.genome)
        played = play_episode(env, policy, seed, 90)
        one = film_episode(env, policy, seed, 90)
    assert played.return_ == recorded_return
    assert one.returns[-1] == played.return_
    assert one.steps == list(range(played.steps + 1))
    assert one.speed == 1
    assert all(np.ptp(picture.astype(int), axis=2).max() > 50 for picture in one.pictures)  # not grey
    assert len({picture.tobytes() for picture in one.pictures}) > 40

    path = film_elite(run, tmp_path / "elite.gif")
    assert path == tmp_path / "elite.gif"
    assert not caplog.records
    assert f"seed {seed}, return {recorded_return:g}".encode() in path.read_bytes()
    frames, length_s = decoded(path)
    assert length_s == pytest.approx((played.steps + 1) * 4 / 60 + 2, abs=0.02)
    for frame, picture in zip(frames, one.pictures, strict=True):
        np.testing.assert_array_equal(frame[:420], picture.repeat(2, axis=0).repeat(2, axis=1))
        assert frame.shape == (446, 320, 3)
        assert frame[420:].max() > 200  # the caption


def test_the_typical_episode_is_nearest_to_the_mean(recorded: dict[str, Path]) -> None:
    for name, n_episodes in (("swatch", 3), ("no candidates", 1)):
        elite = read_run(recorded[name])[1].population.elite
        assert elite is not None
        seed, return_ = typical_episode(recorded[name], SWATCH.seed, elite)
        players = Players(SWATCH)
        with closing(players.env) as env:
            assert play_episode(env, players.load(elite.genome), seed, 40).return_ == return_
        kind = Kind.EVALUATION if n_episodes > 1 else Kind.CHILD
        slots = range(GA.candidates if n_episodes > 1 else GA.population)
        rows = [players.play(elite.genome, kind, elite.generation, s, i) for s in slots for i in range(n_episodes)]
        own = [row for row in rows if _seed(row) == seed]
        assert len(own) == 1
        same_slot = [row["return"][0] for row in rows if row["slot"] == own[0]["slot"]]
        assert abs(return_ - elite.mean) == min(abs(other - elite.mean) for other in same_slot)


def _seed(row: NDArray[np.void]) -> int:
    generation, slot, episode = (int(row[name][0]) for name in ("generation", "slot", "episode"))
    return env_seed(SWATCH.seed, Kind(int(row["kind"][0])).purpose, generation, slot, episode)


def test_any_gymnasium_environment_is_filmed(run: Path) -> None:
    path = film_elite(run, max_steps=11, seed=3)
    assert path == run / "elite.gif"
    frames, _ = decoded(path)
    assert len(frames) == 7  # after 0, 2, 4, ... 10 and 11 steps
    assert frames[0].shape == (266, 320, 3)
    expected = Swatch().render().repeat(8, axis=0).repeat(8, axis=1)
    assert np.abs(frames[0][:240].astype(int) - expected).mean() < 12  # 1200 colours became 239


def test_cartpole_is_filmed(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    config = replace(SWATCH, env=EnvConfig(id="CartPole-v1", max_steps=30))
    path = film_elite(record(tmp_path / "run", config, 1))
    assert path is not None
    frames, _ = decoded(path)
    assert frames[0].shape == (226, 300, 3)
    assert has_color(frames[0], "#CA9865")  # the pole


@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_what_cannot_be_rendered_is_said_in_one_line(
    recorded: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert film_elite(recorded["unseen"]) is None
    assert [record.getMessage().partition(": TypeError")[0] for record in caplog.records] == [
        "no film: gadask-tests/Unseen-v0 cannot be rendered here"
    ]
    assert film.main([str(recorded["unseen"])]) == 1
    assert not (recorded["unseen"] / "elite.gif").exists()


def test_an_unknown_environment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="expected an id registered"):
        film._open(EnvConfig(id="CartPole-v99x"), 1)


def test_a_return_that_differs_from_the_recorded_one_is_logged(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "typical_episode", lambda *_: (3, -99.0))
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
    frames, length_s = decoded(to_gif(Film(pictures, [0, 1, 2, 3], [0.0, 0.5, 1.0, 1234.0], 1 / 15, 2), "about"))
    assert [frame[:12:2, ::2].tolist() for frame in frames] == [picture.tolist() for picture in pictures]
    assert length_s == pytest.approx(4 / 15 + 2, abs=0.011)
