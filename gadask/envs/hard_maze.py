"""`gadask/HardMaze-v0`: the hard maze, whose shortest way to the goal is a dead end (Lehman and Stanley 2011).

A robot of radius 8 has 400 steps to come within 5 units of the goal. A robot that comes closer on the straight way ends
in a pocket, and the way round leads away from the goal first. So the distance deceives evolution, and *Abandoning
objectives* (Evolutionary Computation 19) made the maze a test of novelty search. *Deep neuroevolution* (Such et al.
2017, arXiv 1712.06567) plays it too, also from pictures.

Walls, start, goal and rules are read from the code of Such et al., which descends from Lehman's: `maze.h` and
`tf_maze.cpp` of uber-research/deep-neuroevolution. An action is (turn, thrust), each from −1 to 1. A step:

1. The turn rate, in degrees a step, and the speed, in units a step, change as `control` says; both stay within ±3.
2. The robot moves along its heading, which is 0 at the start, and then turns. Where it would come nearer than its
   radius to a wall it does not move, and keeps its speed.

| `control` | an action | source |
| --- | --- | --- |
| `"speed"` | asks for 3 × turn and 3 × thrust; rate and speed change by at most 0.2 a step | Such et al. |
| `"acceleration"` | adds turn / 2 to the rate and thrust / 2 to the speed | a branch of the same code that is not \
taken; that Lehman and Stanley have it so is recalled |

| `observation` | what is seen |
| --- | --- |
| `"sensors"` | float32 `(11,)`: the constant 1; six range finders, at −90, −45, 0, 45, 90 and −180 degrees, as a \
share of their range of 100; four radars, 1 for the quarter around the robot in which the goal lies (ahead, 90, \
behind, −90 degrees) and 0 for the others |
| `"picture"` | uint8 `(stack, 84, 84)`: the last pictures of the maze from above (`hard_maze_pictures`), the newest \
last; until there are that many, the first one repeated |

That Such et al. stack four pictures of 84 × 84 is recalled; how theirs look is not published with the code.

The return is minus the last distance to the goal. So that this also holds where `env.max_steps` cuts an episode, it is
paid out as the robot goes: the first reward is minus the distance after the first step, each later one what the
distance shrank by. Distances are rounded to multiples of 2⁻²⁰, which makes the sum of rewards exact. The behaviour is
the last position.

Three things differ from that code: an episode ends as soon as the goal is reached, where Such et al. play on and take
the position after 400 steps; that is within 5 units, as its comment says, and not 10; arithmetic is of 64 bits, not 32.

Nothing is drawn at random: a seed has no effect, and a genome has one episode.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.envs.base import LaneEnv
from gadask.envs.hard_maze_geometry import (
    RANGE,
    START,
    Floats,
    find_goal,
    goal_distances,
    measure_ranges,
    squared_wall_distances,
)
from gadask.envs.hard_maze_pictures import SIZE, MazePictures
from gadask.envs.one_lane import OneLane, check_choice, check_count

RADIUS = 8.0
NEAR = 5.0
"""At this distance to the goal or less the maze is solved."""

_FASTEST = 3.0
_MAX_CHANGE = 0.2
_PUSH = 0.5
_GRAIN = 2.0**-20
_N_SENSORS = 11


class HardMazeLanes(LaneEnv):
    """Many robots, each alone in its maze."""

    places: Floats
    """Where the robots are: x and y, shape `(2, n_lanes)`."""
    headings: Floats
    """In degrees, from 0 to 360; shape `(n_lanes,)`."""
    directions: Floats
    """Cosine and sine of the headings, shape `(2, n_lanes)`."""
    rates: Floats
    """Turn rate and speed, shape `(2, n_lanes)`."""
    distances: Floats
    """To the goal, multiples of 2⁻²⁰, shape `(n_lanes,)`."""

    def __init__(
        self,
        n_lanes: int,
        n_steps: int = 400,
        observation: str = "sensors",
        control: str = "speed",
        stack: int = 4,
    ) -> None:
        """Make lanes that are over until they are reset; raises `EnvError` for an impossible kwarg."""
        self.n_lanes = n_lanes
        self.n_steps = check_count("n_steps", n_steps, 1, 1_000_000)
        check_choice("observation", observation, ("sensors", "picture"))
        check_choice("control", control, ("speed", "acceleration"))
        check_count("stack", stack, 1, 100)
        self.sees_sensors = observation == "sensors"
        self.control = control
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        if self.sees_sensors:
            self.observation_space = gymnasium.spaces.Box(0, 1, (_N_SENSORS,), np.float32)
        else:
            self.observation_space = gymnasium.spaces.Box(0, 255, (stack, SIZE, SIZE), np.uint8)
            self._pictures = MazePictures(n_lanes, RADIUS)
        space = self.observation_space
        self.observations: NDArray[Any] = np.zeros((n_lanes, *space.shape), space.dtype)
        self.rewards = np.zeros(n_lanes)
        self.over = np.ones(n_lanes, np.bool_)
        self.places = np.repeat(np.array(START)[:, None], n_lanes, axis=1)
        self.headings = np.zeros(n_lanes)
        self.directions = np.repeat(np.array([1.0, 0.0])[:, None], n_lanes, axis=1)
        self.rates = np.zeros((2, n_lanes))
        self.distances = _to_goal(self.places)
        self._paid = np.zeros(n_lanes)
        self._steps = np.zeros(n_lanes, np.int64)
        self._observe()
        self._first = self.observations[0].copy()
        if not self.sees_sensors:
            self._first[:] = self._first[-1]
        self._first_distance = self.distances[0]

    def reset(self, lane: int, seed: int) -> None:
        """Put the robot of a lane to the start; `seed` has no effect."""
        self.places[:, lane] = START
        self.directions[:, lane] = 1, 0
        self.rates[:, lane] = 0
        for state in (self.headings, self.rewards, self._paid, self._steps):
            state[lane] = 0
        self.distances[lane] = self._first_distance
        self.observations[lane] = self._first
        self.over[lane] = False

    def step(self, actions: NDArray[np.generic]) -> None:
        """Drive one step in every lane; a robot whose episode is over stays where it is."""
        live = ~self.over
        wanted = np.where(live, np.clip(actions.T, -1, 1), 0).astype(np.float64)
        if self.control == "speed":
            self.rates += np.clip(_FASTEST * wanted - self.rates, -_MAX_CHANGE, _MAX_CHANGE)
        else:
            self.rates += _PUSH * wanted
        np.clip(self.rates, -_FASTEST, _FASTEST, out=self.rates)
        turns, speeds = self.rates
        there = self.places + speeds * self.directions
        is_free = live & (squared_wall_distances(there) >= RADIUS * RADIUS)
        np.copyto(self.places, there, where=is_free)
        np.add(self.headings, turns, out=self.headings, where=live)
        np.mod(self.headings, 360, out=self.headings)
        radians = np.radians(self.headings)
        np.cos(radians, out=self.directions[0])
        np.sin(radians, out=self.directions[1])
        self.distances = _to_goal(self.places)
        np.subtract(-self.distances, self._paid, out=self.rewards)
        np.negative(self.distances, out=self._paid)
        self._steps += live
        self.over |= (self._steps >= self.n_steps) | (self.distances <= NEAR)
        self._observe()

    def behaviour(self, lane: int) -> NDArray[np.float32]:
        """Return where a lane's robot is, x and y."""
        return self.places[:, lane].astype(np.float32)

    def _observe(self) -> None:
        """Write what each robot sees now."""
        seen = self.observations
        if self.sees_sensors:
            seen[:, 0] = 1
            seen[:, 1:7] = (measure_ranges(self.places, self.directions) / RANGE).T
            seen[:, 7:] = find_goal(self.places, self.directions).T
            return
        for older in range(seen.shape[1] - 1):
            seen[:, older] = seen[:, older + 1]
        self._pictures.draw(seen[:, -1], self.places, self.directions)


class HardMaze(OneLane):
    """One robot in its maze. `info["behaviour"]` is where it is, float32 `(2,)`."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30, "n_starts": 1}  # noqa: RUF012

    def __init__(
        self,
        n_steps: int = 400,
        observation: str = "sensors",
        control: str = "speed",
        stack: int = 4,
        render_mode: str | None = None,
    ) -> None:
        """Raises `EnvError` for an impossible kwarg."""
        self._lanes = HardMazeLanes(1, n_steps, observation, control, stack)
        self._path: list[tuple[float, float]] = []
        super().__init__(self._lanes, render_mode)

    def _info(self) -> dict[str, Any]:
        x, y = self._lanes.places[:, 0].tolist()
        del self._path[len(self.history) :]
        self._path.append((x, y))
        return {"behaviour": self._lanes.behaviour(0)}

    def _picture(self) -> NDArray[np.uint8]:
        from gadask.envs.hard_maze_film import film_picture

        lanes = self._lanes
        title = f"step {len(self.history)} of {lanes.n_steps}, {lanes.distances[0]:.1f} to the goal"
        ranges = measure_ranges(lanes.places, lanes.directions)[:, 0] if lanes.sees_sensors else None
        return film_picture(title, self._path, lanes.headings[0], RADIUS, NEAR, ranges)


def _to_goal(places: Floats) -> Floats:
    """Return the distances that rewards are made of."""
    return np.rint(goal_distances(places) / _GRAIN) * _GRAIN
