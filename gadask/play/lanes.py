"""The inner loop for cheap environments: many episodes side by side, each with its own genome.

A task is played in lanes if its environment has that form (`open_lanes`) and its policy too (`PlaysLanes`), and then
everywhere: on nodes, in evaluation, in a film. Otherwise `rollout` plays it, one episode after the other.

How many lanes there are follows from the task alone, so that everything computed always has the same shape. A lane
whose episode ended begins the next one at once; towards the end of a job, lanes that find none idle. An episode is a
function of its weights and seeds, bit for bit: `LaneEnv` and `LanePolicy` promise it for each step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.config import EnvConfig
from gadask.contract import AnnouncedBehaviour
from gadask.envs import LaneEnv, make_lane_env
from gadask.envs.gymnasium_lanes import make_gymnasium_lanes
from gadask.errors import PolicyError
from gadask.messages import Status
from gadask.observations import Normaliser
from gadask.play.rollout import Episode
from gadask.policies import LanePolicy, PlaysLanes, Policy
from gadask.rows import BEHAVIOUR, MOMENTS, REASON, reason_content

_MAX_LANES = 64
_MIN_LANES = 4
_MAX_NUMBERS = 2**22  # 16 MiB of weights

_NEVER = np.iinfo(np.int64).max

Beginning = tuple[int, np.random.Generator | None]
"""The environment's seed and, for sampled actions, a stream that is the lane's until it begins another episode."""


def count_lanes(env: EnvConfig, policy: Policy) -> int:
    """Return in how many lanes a task is played; 0 if it is not played in lanes.

    Many lanes share the cost of each Python call, but the weights of all of them should stay in the cache.
    """
    if policy.reference_size or not isinstance(policy.module, PlaysLanes) or open_lanes(env, 1) is None:
        return 0
    return max(_MIN_LANES, min(_MAX_LANES, _MAX_NUMBERS // policy.n_params))


def open_lanes(env: EnvConfig, n_lanes: int) -> LaneEnv | None:
    """Return an environment in lanes: a task of gadask's own, or a cheap one of Gymnasium's; None for any other.

    Raises `EnvError` as `make_env` does.
    """
    return make_lane_env(env, n_lanes) or make_gymnasium_lanes(env, n_lanes)


@dataclass(frozen=True)
class Played:
    """What came of one episode of a job."""

    place: int
    """The episode's place in the job."""
    episode: Episode
    seconds: float
    """Its process time: lanes that play at the same time have equal shares of it."""
    start_s: float
    """Unix time of its start."""
    attached: dict[str, bytes] = field(default_factory=dict)
    """What is attached to its row, by name; moments also of an episode that is not observed."""


class Lanes:
    """The lanes of one task in one process."""

    policy: LanePolicy

    def __init__(self, env: LaneEnv, policy: LanePolicy, behaviour: AnnouncedBehaviour | None = None) -> None:
        """Take over environment and policy, which have equally many lanes.

        With `behaviour`, the behaviours of episodes that end well are attached to them.
        """
        self.policy = policy
        self._behaviour = behaviour
        self._env = env

    def play(
        self,
        places: Iterable[int],
        max_steps: int,
        begin: Callable[[int, int], Beginning],
        stopped: Callable[[], bool],
    ) -> Iterator[Played]:
        """Play the episodes at `places`, at most `max_steps` steps of each, at least 1; yields each as it ends.

        `begin(place, lane)` fills the lane's row of `policy.rows` with the weights for the episode at `place`.
        `stopped` is asked before every step; once it is true, all episodes that have not ended come back as `STOPPED`.
        What `begin`, the environment, its behaviour or the policy raises is not caught.
        """
        waiting = iter(places)
        side_by_side = _SideBySide(self._env, self.policy, max_steps, self._behaviour, waiting, begin)
        is_stopped = False
        while not is_stopped and side_by_side.playing.any():
            is_stopped = side_by_side.advance(stopped)
            for lane in side_by_side.ended_lanes(is_stopped):
                yield side_by_side.end(lane, is_stopped)
                if not is_stopped:
                    side_by_side.begin_next(lane)
        for place in waiting:
            yield Played(place, Episode(0.0, 0, 0, Status.STOPPED), 0.0, time.time())


class _SideBySide:
    """The episodes of one call of `Lanes.play`: which lane plays which of them, and what it has come to so far."""

    def __init__(
        self,
        env: LaneEnv,
        policy: LanePolicy,
        max_steps: int,
        behaviour: AnnouncedBehaviour | None,
        waiting: Iterator[int],
        begin: Callable[[int, int], Beginning],
    ) -> None:
        """Begin an episode in every lane, as far as they go."""
        self._env, self._policy, self._max_steps, self._behaviour = env, policy, max_steps, behaviour
        self._waiting, self._begin = waiting, begin
        n_lanes = policy.n_lanes
        self.playing, self._ended, self._failed = (np.zeros(n_lanes, np.bool_) for _ in range(3))
        self._places = [-1] * n_lanes
        self._start_s = [0.0] * n_lanes
        self._first_step = [0] * n_lanes
        self._last_step = np.full(n_lanes, _NEVER)  # at which an episode is cut
        self._returns = np.zeros(n_lanes)
        self._step = 0
        self._share_s = 0.0  # of the time until now, for a lane that played all of it
        self._first_share_s = [0.0] * n_lanes
        self._counted_at = time.perf_counter()
        for lane in range(n_lanes):
            self.begin_next(lane)

    def begin_next(self, lane: int) -> None:
        """Begin the next episode that waits; without one the lane idles."""
        self._places[lane] = place = next(self._waiting, -1)
        self.playing[lane], self._last_step[lane] = place >= 0, _NEVER
        if place >= 0:
            self._start_s[lane], self._first_share_s[lane] = time.time(), self._share_s
            self._first_step[lane], self._last_step[lane] = self._step, self._step + self._max_steps
            self._returns[lane] = 0
            seed, stream = self._begin(place, lane)
            self._env.reset(lane, seed)
            self._policy.reset(lane, stream)

    def advance(self, stopped: Callable[[], bool]) -> bool:
        """Play until an episode ends, or all are stopped; returns whether they were."""
        env, policy, step = self._env, self._policy, self._step
        playing, ended, failed, returns = self.playing, self._ended, self._failed, self._returns
        n_playing, next_cut = np.count_nonzero(playing), self._last_step.min()
        with np.errstate(all="ignore"):  # of lanes that idle, and of returns that are not finite
            while not (is_stopped := stopped()):
                actions = policy.act(env.observations)
                if policy.undecided is not None:
                    np.logical_and(policy.undecided, playing, out=failed)
                    actions[policy.undecided] = 0  # any action, as for a lane that is over
                env.step(actions)
                step += 1
                np.add(returns, env.rewards, out=returns)
                np.logical_and(env.over, playing, out=ended)
                if step == next_cut:
                    np.logical_or(ended, self._last_step == step, out=ended)
                if policy.undecided is not None:
                    np.logical_or(ended, failed, out=ended)
                if np.count_nonzero(ended):
                    break
        now = time.perf_counter()
        self._share_s += (now - self._counted_at) / n_playing
        self._step, self._counted_at = step, now
        return is_stopped

    def ended_lanes(self, is_stopped: bool) -> list[int]:
        """Return the lanes whose episodes have ended: all that played, once they are stopped."""
        lanes: list[int] = np.flatnonzero(self.playing if is_stopped else self._ended).tolist()
        return lanes

    def end(self, lane: int, is_stopped: bool) -> Played:
        """Return what came of a lane's episode."""
        return_, steps = float(self._returns[lane]), self._step - self._first_step[lane]
        status = Status.STOPPED if is_stopped else Status.OK
        moments = self._policy.moments(lane)
        attached = {} if moments is None else {MOMENTS: moments}
        if self._failed[lane] and not is_stopped:
            status = Status.ERROR
            attached[REASON] = reason_content(f"PolicyError: {self._policy.complaint(lane)}")
        elif not math.isfinite(return_):
            status = Status.NONFINITE
        if status is Status.OK and self._behaviour is not None:
            attached[BEHAVIOUR] = self._behaviour(self._env.behaviour(lane)).tobytes()
        self._failed[lane] = False
        episode = Episode(return_, steps, steps, status)
        seconds = self._share_s - self._first_share_s[lane]
        return Played(self._places[lane], episode, seconds, self._start_s[lane], attached)


class FirstLane:
    """The policy of a task that is played in lanes, in one of them: it acts as it does among others."""

    flat: torch.Tensor
    """All parameters, as in `Policy`."""

    def __init__(self, policy: Policy, n_lanes: int) -> None:
        """Make the lanes form of `policy`."""
        self._lanes = LanePolicy(policy, n_lanes)
        self.flat = self._lanes.rows[0]
        self.initialise = policy.initialise
        self._is_discrete = policy.actions.is_discrete
        space = policy.observation_space
        self._observations = np.zeros((n_lanes, *space.shape), space.dtype)

    def reset(self, stream: np.random.Generator | None = None) -> None:
        """Begin an episode, whose sampled actions are drawn from `stream`."""
        self._lanes.reset(0, stream)

    def normalise_by(self, normaliser: Normaliser | None) -> None:
        """Normalise observations from now on, as `Policy.normalise_by` does."""
        self._lanes.normalise_by(normaliser)

    def act(self, observation: NDArray[np.generic]) -> int | NDArray[np.generic]:
        """Return the action for the next observation, as `Policy.act` does."""
        self._observations[0] = observation
        with np.errstate(all="ignore"):  # of infinite outputs, as in `Lanes.play`
            action: NDArray[np.generic] = self._lanes.act(self._observations)[0]
        if self._lanes.undecided is not None and self._lanes.undecided[0]:
            raise PolicyError(self._lanes.complaint(0))
        return int(action) if self._is_discrete else action


def as_played(env: EnvConfig, policy: Policy) -> Policy | FirstLane:
    """Return the policy in the form in which nodes play the task, for one `Env` of it."""
    n_lanes = count_lanes(env, policy)
    return FirstLane(policy, n_lanes) if n_lanes else policy
