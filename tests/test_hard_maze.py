"""The hard maze: geometry and rules against a plain loop, sensors at poses worked out by hand, pictures, one start."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import Config, EnvConfig, config_from_dict, load_config
from gadask.envs import make_env
from gadask.envs.baselines import play_baseline
from gadask.envs.hard_maze import HardMaze, HardMazeLanes
from gadask.envs.hard_maze_geometry import GOAL, START, WALLS, find_goal, measure_ranges, squared_wall_distances
from gadask.envs.hard_maze_pictures import SIZE
from gadask.master.task import prepare_task
from gadask.record.directory import read_generations
from gadask.record.frames import episode_frame
from tests.local_runs import run

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT.parent / "shared" / "reference" / "hard_maze.csv"
CONTROLS = pytest.mark.parametrize("control", ["speed", "acceleration"])
WAY = [
    *[(70, 172), (110, 150), (150, 172), (172, 158), (150, 143), (110, 122), (80, 107), (68, 92), (85, 65), (140, 45)],
    *[(148, 25), (120, 18), (31, 20)],
]
"""Places on the way from the start to the goal."""


class Loop:
    """The rules of Such et al. for one robot, in Python's floats; does without numpy and without lanes."""

    def __init__(self, control: str) -> None:
        self.control = control
        (self.x, self.y), self.heading, self.turn, self.speed = START, 0.0, 0.0, 0.0

    def step(self, turn: float, thrust: float) -> None:
        if self.control == "speed":
            self.turn += max(-0.2, min(0.2, 3 * turn - self.turn))
            self.speed += max(-0.2, min(0.2, 3 * thrust - self.speed))
        else:
            self.turn = max(-3.0, min(3.0, self.turn + turn / 2))
            self.speed = max(-3.0, min(3.0, self.speed + thrust / 2))
        x = self.x + self.speed * math.cos(math.radians(self.heading))
        y = self.y + self.speed * math.sin(math.radians(self.heading))
        if all(distance_to(wall, x, y) >= 8 for wall in WALLS.tolist()):
            self.x, self.y = x, y
        self.heading = (self.heading + self.turn) % 360

    def sensors(self) -> list[float]:
        ranges = [self.way(angle) / 100 for angle in (-90, -45, 0, 45, 90, -180)]
        bearing = math.degrees(math.atan2(GOAL[1] - self.y, GOAL[0] - self.x)) - self.heading
        quarter = int((bearing + 45) % 360 // 90)
        return [1, *ranges, *(float(number == quarter) for number in range(4))]

    def way(self, angle: float) -> float:
        """Return how far it is to a wall: cut the ray with each wall by Cramer's rule."""
        dx, dy = math.cos(math.radians(self.heading + angle)), math.sin(math.radians(self.heading + angle))
        nearest = 100.0
        for x1, y1, x2, y2 in WALLS.tolist():
            determinant = dx * (y1 - y2) - dy * (x1 - x2)
            if abs(determinant) > 1e-12:
                way = ((x1 - self.x) * (y1 - y2) - (y1 - self.y) * (x1 - x2)) / determinant
                share = (dx * (y1 - self.y) - dy * (x1 - self.x)) / determinant
                if way > 0 and 0 <= share <= 1:
                    nearest = min(nearest, way)
        return nearest


def distance_to(wall: list[float], x: float, y: float) -> float:
    """Return a place's distance to a wall, by the law of cosines at both of its ends."""
    x1, y1, x2, y2 = wall
    length, first, second = math.hypot(x2 - x1, y2 - y1), math.hypot(x - x1, y - y1), math.hypot(x - x2, y - y2)
    if first**2 > length**2 + second**2 or second**2 > length**2 + first**2:
        return min(first, second)
    return abs((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / length


def walk(seed: int, n_steps: int) -> NDArray[np.float32]:
    """Return actions that keep for some steps, mostly forwards; shape `(n_steps, 2)`."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform([-1, -0.3], 1, (n_steps // 20 + 1, 2)).clip(-1, 1)
    return actions.repeat(20, axis=0)[:n_steps].astype(np.float32)


def started(n_lanes: int = 1, **kwargs: Any) -> HardMazeLanes:
    lanes = HardMazeLanes(n_lanes, **kwargs)
    for lane in range(n_lanes):
        lanes.reset(lane, lane)
    return lanes


def posed(x: float, y: float, heading: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return place and direction of one robot, as the geometry takes them."""
    radians = math.radians(heading)
    return np.array([[x], [y]]), np.array([[math.cos(radians)], [math.sin(radians)]])


def drive(env: HardMaze) -> tuple[float, int, NDArray[np.float32]]:
    """Steer from place to place of `WAY`; returns the return, the steps and the behaviour."""
    env.reset(seed=0)
    lanes, ahead, total, over = env._lanes, list(WAY), 0.0, False
    info: dict[str, Any] = {}
    while not over:
        x, y = lanes.places[:, 0].tolist()
        while len(ahead) > 1 and math.hypot(ahead[0][0] - x, ahead[0][1] - y) < 10:
            del ahead[0]
        bearing = math.degrees(math.atan2(ahead[0][1] - y, ahead[0][0] - x))
        off = (bearing - lanes.headings[0] + 180) % 360 - 180
        wanted = np.array([off * 0.15, 3 * max(0.1, math.cos(math.radians(off))) ** 2])
        action = (wanted - lanes.rates[:, 0]) * 2 if lanes.control == "acceleration" else wanted / 3
        _, reward, over, _, info = env.step(action.clip(-1, 1).astype(np.float32))
        total += reward
    return total, len(env.history), info["behaviour"]


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data are not here")
def test_the_maze_is_that_of_the_reference() -> None:
    rows = list(csv.DictReader(REFERENCE.read_text().splitlines()))
    places = {row["what"]: (float(row["x1"]), float(row["y1"])) for row in rows if row["what"] != "wall"}
    assert places == {"start": START, "goal": GOAL}
    walls = [[float(row[key]) for key in ("x1", "y1", "x2", "y2")] for row in rows if row["what"] == "wall"]
    assert walls == WALLS.tolist()


@CONTROLS
@pytest.mark.parametrize("seed", range(3))
def test_lanes_play_what_a_plain_loop_plays(control: str, seed: int) -> None:
    lanes, loop = started(control=control), Loop(control)
    n_moved = 0
    for turn, thrust in walk(seed, 400):
        before = lanes.places.copy()
        lanes.step(np.array([[turn, thrust]]))
        loop.step(float(turn), float(thrust))
        n_moved += (lanes.places != before).any()
        np.testing.assert_allclose(lanes.places[:, 0], (loop.x, loop.y), atol=1e-9)
        np.testing.assert_allclose(lanes.headings[0], loop.heading, atol=1e-9)
        np.testing.assert_allclose(lanes.observations[0], loop.sensors(), atol=1e-6)
    assert 50 < n_moved < 400  # it has run into walls, too


@settings(max_examples=300, deadline=None)
@given(x=st.floats(10, 185), y=st.floats(10, 195), heading=st.floats(0, 360))
def test_sensors_are_those_of_a_plain_loop_anywhere(x: float, y: float, heading: float) -> None:
    loop = Loop("speed")
    loop.x, loop.y, loop.heading = x, y, heading
    place, direction = posed(x, y, heading)
    nearest = min(distance_to(wall, x, y) for wall in WALLS.tolist())
    assert math.sqrt(squared_wall_distances(place)[0]) == pytest.approx(nearest, abs=1e-6)
    if nearest < 8:  # no robot comes here, and a wall through its middle may be ahead or behind
        return
    ranges, quarters = measure_ranges(place, direction)[:, 0], find_goal(place, direction)[:, 0]
    shaken = []  # a ray that just misses the end of a wall may hit it in other arithmetic
    for shift in (-1e-7, 0, 1e-7):
        loop.heading = heading + shift
        shaken.append(loop.sensors())
    low, high = np.min(shaken, axis=0), np.max(shaken, axis=0)
    assert ((ranges / 100 >= low[1:7] - 1e-5) & (ranges / 100 <= high[1:7] + 1e-5)).all()
    assert ((quarters >= low[7:]) & (quarters <= high[7:])).all()
    assert quarters.sum() == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), control=st.sampled_from(["speed", "acceleration"]))
def test_no_robot_crosses_a_wall_or_comes_nearer_than_its_radius(seed: int, control: str) -> None:
    lanes = started(8, control=control)
    walks = np.stack([walk(seed + lane, 400) for lane in range(8)], axis=1)
    before = lanes.places.copy()
    for actions in walks:
        lanes.step(actions)
        assert (squared_wall_distances(lanes.places) >= 64).all()
        ways = lanes.places - before
        lengths = np.hypot(*ways)
        assert (lengths <= 3 + 1e-12).all()
        moved = np.flatnonzero(lengths > 0)
        directions = ways[:, moved] / lengths[moved]
        assert (measure_ranges(before[:, moved], directions)[2] > lengths[moved]).all()  # no wall on the way
        before = lanes.places.copy()


def test_walls_stop_a_robot_that_keeps_its_speed_and_turns() -> None:
    lanes = started()
    ahead = np.array([[0.0, 1.0]])
    for _ in range(15):
        lanes.step(ahead)
    np.testing.assert_allclose(lanes.rates[:, 0], (0, 3))
    for _ in range(100):
        lanes.step(ahead)
    x, y = lanes.places[:, 0]
    assert y == 184  # the wall from (77, 201) to (108, 164) is ahead
    assert 8 <= distance_to([77, 201, 108, 164], x, y) < 8 + 3
    assert lanes.rates[1, 0] == pytest.approx(3)
    lanes.step(np.array([[1.0, 1.0]]))
    assert (lanes.places[0, 0], lanes.headings[0]) == (x, pytest.approx(0.2))


def test_what_the_start_looks_like() -> None:
    """Heading 0 looks along x. Left of it, at −90 degrees, is up, where the goal is."""
    one, *sensors = started().observations[0].tolist()
    left, ahead_left, ahead, ahead_right, right, behind = sensors[:6]
    assert one == 1
    assert left == pytest.approx(1)  # the wall from (6, 80) ends at x = 33, and no other is within 100 of (36, 184)
    x_of_wall = 77 + (201 - 184) * (108 - 77) / (201 - 164)
    assert ahead == pytest.approx((x_of_wall - 36) / 100)
    assert behind == pytest.approx((36 - (4 + 3 * (184 - 49) / (202 - 49))) / 100)
    assert right == pytest.approx((202 - 4 * (36 - 7) / (195 - 7) - 184) / 100)
    along = (184 - 106 + (57 - 36) * 56 / 101) / (1 + 56 / 101)  # to the wall from (57, 106) to (158, 162)
    assert ahead_left == pytest.approx(math.sqrt(2) * along / 100)
    along = (202 - 184 - (36 - 7) * 4 / 188) / (1 + 4 / 188)  # to the wall below
    assert ahead_right == pytest.approx(math.sqrt(2) * along / 100)
    assert sensors[6:] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("heading", "quarter"),
    [(270, 0), (0, 3), (90, 2), (180, 1), (270 + 44, 0), (270 + 46, 3), (270 - 44, 0), (270 - 46, 1)],
)
def test_a_radar_looks_at_its_quarter(heading: float, quarter: int) -> None:
    quarters = find_goal(*posed(31, 100, heading))[:, 0]  # the goal is straight up
    assert quarters.tolist() == [number == quarter for number in range(4)]


def test_a_quarter_begins_where_the_one_before_ends() -> None:
    place, _ = posed(31, 100, 0)
    half = math.sqrt(0.5)
    for direction, quarter in [((half, -half), 0), ((-half, -half), 1), ((-half, half), 2), ((half, half), 3)]:
        assert find_goal(place, np.array(direction)[:, None])[:, 0].argmax() == quarter


@pytest.mark.parametrize("kwargs", [{}, {"control": "acceleration"}, {"observation": "picture", "stack": 2}])
def test_an_episode_has_the_same_bits_in_one_lane_and_in_many(kwargs: dict[str, Any]) -> None:
    many, walks = started(37, **kwargs), np.stack([walk(lane, 150) for lane in range(37)], axis=1)
    alone = [started(1, **kwargs) for _ in range(37)]
    for actions in walks:
        many.step(actions)
        for lane, one in enumerate(alone):
            one.step(actions[lane : lane + 1])
    for lane, one in enumerate(alone):
        assert one.observations[0].tobytes() == many.observations[lane].tobytes()
        assert one.places[:, 0].tobytes() == many.places[:, lane].tobytes()
        assert one.headings[0] == many.headings[lane]


@CONTROLS
def test_the_maze_can_be_solved_and_then_the_episode_ends(control: str) -> None:
    return_, steps, behaviour = drive(HardMaze(control=control))
    assert steps < 400
    assert -5 <= return_ < 0
    assert math.dist(behaviour, GOAL) == pytest.approx(-return_, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 60))
def test_the_return_is_minus_the_last_distance_wherever_an_episode_is_cut(seed: int, n_steps: int) -> None:
    lanes = started()
    total = 0.0
    for action in walk(seed, n_steps):
        lanes.step(action[None])
        total += lanes.rewards[0]
        assert total == -lanes.distances[0]
        assert lanes.distances[0] == pytest.approx(math.dist(lanes.places[:, 0], GOAL), abs=2**-20)
        behaviour = lanes.behaviour(0)
        assert behaviour.dtype == np.float32
        assert behaviour.tolist() == lanes.places[:, 0].astype(np.float32).tolist()


def test_an_episode_ends_after_its_steps_and_stays_where_it_is() -> None:
    lanes = started(2, n_steps=5)
    for step in range(5):
        assert not lanes.over.any(), step
        lanes.step(np.ones((2, 2), np.float32))
    assert lanes.over.all()
    last = lanes.places.copy()
    lanes.reset(1, 9)
    lanes.step(np.array([[np.nan, 1], [1, 1]], np.float32))
    np.testing.assert_array_equal(lanes.places[:, 0], last[:, 0])
    assert lanes.over.tolist() == [True, False]
    assert lanes.places[0, 1] == pytest.approx(36.2)


def test_a_policys_picture_shows_walls_goal_and_heading() -> None:
    env = HardMaze(observation="picture")
    first, _ = env.reset(seed=0)
    assert first.dtype == np.uint8
    assert first.shape == (4, SIZE, SIZE)
    assert all(picture.tobytes() == first[0].tobytes() for picture in first)
    column, row = int((36 + 4.5) / 2.5), int((184 + 1.5) / 2.5)
    assert (first[0, row, column + 2], first[0, row, column - 2]) == (255, 64)  # it looks along x
    assert first[0, int((20 + 1.5) / 2.5), int((31 + 4.5) / 2.5)] == 192
    assert first[0, int((100 + 1.5) / 2.5), int((56 + 4.5) / 2.5)] > 100  # the wall down the middle
    assert first[0, int((60 + 1.5) / 2.5), int((150 + 4.5) / 2.5)] == 0
    second = env.step(np.array([1, 0], np.float32))[0]
    assert [picture.tobytes() for picture in second[:3]] == [picture.tobytes() for picture in first[:3]]
    assert (second[3] != first[3]).any()  # a turn of 0.2 degrees
    third = env.step(np.array([1, 0], np.float32))[0]
    np.testing.assert_array_equal(third[:3], second[1:])


def test_a_turned_robot_shows_its_front_where_it_looks() -> None:
    lanes = started(1, observation="picture", stack=1)
    while lanes.headings[0] < 90:
        lanes.step(np.array([[1.0, 0.0]]))
    column, row = int((36 + 4.5) / 2.5), int((184 + 1.5) / 2.5)
    picture = lanes.observations[0, 0].astype(int)
    assert picture[row + 2, column] - picture[row - 2, column] > 150


def test_a_film_shows_the_path() -> None:
    env: Any = gymnasium.make("gadask/HardMaze-v0", render_mode="rgb_array")
    env.reset(seed=0)
    blue = np.array([90, 140, 230])
    counts = [(env.render() == blue).all(axis=2).sum()]
    for _ in range(3):
        for _ in range(15):
            env.step(np.array([-0.2, 1], np.float32))
        counts.append((env.render() == blue).all(axis=2).sum())
    assert counts[0] == 0
    assert counts == sorted(set(counts))
    env.reset(seed=0)
    assert (env.render() == blue).all(axis=2).sum() == 0


def test_neither_baseline_solves_it_and_to_wander_leads_closer() -> None:
    random, wander = (play_baseline(name, EnvConfig("gadask/HardMaze-v0"), range(100)) for name in ("random", "wander"))
    assert max(random.returns.max(), wander.returns.max()) < -5
    assert wander.returns.mean() > random.returns.mean() + 30


def small(**env: Any) -> Config:
    """Return the config of a small run."""
    table: dict[str, Any] = {
        "env": {"id": "gadask/HardMaze-v0", "behaviour": True, **env},
        "policy": {"kind": "mlp", "kwargs": {"hidden": "6"}},
        "noise": {"size": 10_000},
        "generation": {"population": 12, "candidates": 3, "candidate_episodes": 5},
        "ga": {"parents": 4, "mutation_power": 0.3},
        "budget": {"generations": 3, "test_episodes": 7},
    }
    return config_from_dict(table)


def test_a_genome_has_one_episode() -> None:
    task = prepare_task(small())
    assert (task.n_starts, task.n_behaviour) == (1, 2)
    assert task.n_lanes > 0
    assert make_env(EnvConfig("gadask/HardMaze-v0")).n_starts == 1


def test_what_may_draw_or_differ_is_played_again() -> None:
    """A wrapper may draw at random, and normalised observations differ from generation to generation."""
    config = small()
    wrapped = replace(config.env, wrappers=("gymnasium.wrappers.FlattenObservation",))
    assert prepare_task(replace(config, env=wrapped)).n_starts == 0
    assert prepare_task(replace(config, policy=replace(config.policy, normalise=True))).n_starts == 0


@pytest.mark.parametrize("max_steps", [400, 30])
def test_a_run_plays_no_episode_twice_and_tells_where_each_ended(max_steps: int, tmp_path: Path) -> None:
    """Where an episode is cut its return is minus the last distance, too."""
    lines = run(small(max_steps=max_steps), tmp_path / "one", processes=1)
    assert run(small(max_steps=max_steps), tmp_path / "two", processes=2) == lines
    frame = episode_frame(tmp_path / "one")
    assert (frame.status == "ok").all()
    assert len(frame) == 3 * (12 + 3 * 5)
    distances = [math.dist(behaviour, GOAL) for behaviour in frame.behaviour]
    np.testing.assert_allclose(distances, -frame["return"], atol=1e-4)
    for line in read_generations(tmp_path / "one"):
        assert line["episodes"] == 12 + 3 * 5
        assert line["timing"]["played"]["episodes"] == 12  # what a candidate gave as a child is known


def test_the_example_config_can_be_played() -> None:
    config = load_config(ROOT / "jobs" / "configs" / "hard-maze.toml")
    task = prepare_task(config)
    assert (task.n_starts, task.n_behaviour) == (1, 2)
    assert task.n_lanes > 0
