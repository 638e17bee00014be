"""Episodes played in lanes: the same bits whichever lanes share the batch, and one row each, whatever goes wrong."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import EnvConfig, PolicyConfig, Scalar
from gadask.contract import AnnouncedBehaviour
from gadask.envs import LaneEnv
from gadask.genomes.seeding import stream
from gadask.messages import Kind, Status
from gadask.play.lanes import Beginning, FirstLane, Lanes, Played, count_lanes
from gadask.play.rollout import Episode
from gadask.policies import LanePolicy, Policy, make_policy
from gadask.rows import BEHAVIOUR, REASON

N_LANES = 6
N_EPISODES = 17
VECTOR = gymnasium.spaces.Box(-9, 9, (5,), np.float32)
WIDE_VECTOR = gymnasium.spaces.Box(-9, 9, (11,), np.float32)
IMAGE = gymnasium.spaces.Box(-9, 9, (2, 6, 5), np.float32)
NUMBER = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)


class Echo(LaneEnv):
    """Every bit of an action decides the rewards and all later observations; lengths follow from seeds.

    An episode with an odd seed ends by itself after 1 to 40 steps, one with an even seed never.
    """

    def __init__(self, n_lanes: int, space: gymnasium.spaces.Box, action_space: gymnasium.Space) -> None:
        self.n_lanes = n_lanes
        self.observation_space, self.action_space = space, action_space
        self.observations = np.zeros((n_lanes, *space.shape), np.float32)
        self.rewards = np.zeros(n_lanes)
        self.over = np.ones(n_lanes, np.bool_)
        self.fault_at = -1
        self._left = np.zeros(n_lanes, np.int64)
        self._salt = np.zeros(n_lanes)

    def reset(self, lane: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.observations[lane] = generator.standard_normal(self.observation_space.shape)
        self._salt[lane] = generator.random()
        self._left[lane] = generator.integers(1, 41) if seed % 2 else -1
        self.over[lane] = False

    def step(self, actions: NDArray[np.generic]) -> None:
        self.fault_at -= 1
        if self.fault_at == 0:
            raise RuntimeError("it cannot step")
        assert len(actions) == self.n_lanes
        for lane, action in enumerate(actions.reshape(self.n_lanes, -1).astype(np.float64)):
            self.rewards[lane] = math.sin(float(action.sum()) + self._salt[lane])
            self.observations[lane] += np.float32(math.sin(7 * self.rewards[lane]) / 8)
        self._left -= 1
        self.over |= self._left == 0

    def behaviour(self, lane: int) -> NDArray[np.float32]:
        """Return what the lane sees and its last reward, each bit of which follows from the whole episode."""
        seen: NDArray[np.float32] = self.observations[lane].ravel()[:2].astype(np.float32)
        return np.append(seen, np.float32(self.rewards[lane]))


def policy_of(kind: str, space: gymnasium.Space, action_space: gymnasium.Space, **kwargs: Scalar) -> Policy:
    return make_policy(PolicyConfig(kind, kwargs), space, action_space)


def begin_in(lanes: Lanes, sampled: bool = False) -> Callable[[int, int], Beginning]:
    """Say what an episode of these tests begins with: weights and seed follow from its place."""

    def begin(place: int, lane: int) -> Beginning:
        row = lanes.policy.rows[lane]
        row.copy_(torch.randn(row.numel(), generator=torch.Generator().manual_seed(place // 2)))
        return 1000 + place, np.random.default_rng(place) if sampled else None

    return begin


def play(lanes: Lanes, places: Sequence[int], sampled: bool = False) -> dict[int, Played]:
    return {played.place: played for played in lanes.play(places, 90, begin_in(lanes, sampled), lambda: False)}


KINDS: dict[str, tuple[str, gymnasium.spaces.Box, dict[str, Scalar]]] = {
    "mlp": ("mlp", VECTOR, {"hidden": "9,7"}),
    "gru": ("gru", VECTOR, {"units": 7}),
    "gru 32": ("gru", VECTOR, {}),
    "lstm": ("lstm", VECTOR, {"units": 5}),
    "gru per action": ("gru-per-action", WIDE_VECTOR, {"units": 5, "states": 2}),
    "snail": ("snail", VECTOR, {"length": 7, "channels": 3, "blocks": 2}),
    "conv-gru": ("conv-gru", IMAGE, {"filters": "3", "kernels": "3", "strides": "1", "units": 5}),
    "fast weights": ("conv-fast-weights", IMAGE, {"filters": "3", "kernels": "3", "strides": "1", "units": 5}),
}


@functools.cache
def lanes_of(name: str, actions: str, n_lanes: int = N_LANES) -> Lanes:
    kind, space, kwargs = KINDS[name]
    action_space = NUMBER if actions == "continuous" else gymnasium.spaces.Discrete(6, start=3)
    kwargs = {**kwargs, "actions": "sampled"} if actions == "sampled" else kwargs
    policy = LanePolicy(policy_of(kind, space, action_space, **kwargs), n_lanes)
    return Lanes(Echo(n_lanes, space, action_space), policy, AnnouncedBehaviour("Echo", 3))


@functools.cache
def played_alone_with_attachments(name: str, actions: str) -> dict[int, tuple[Episode, dict[str, bytes]]]:
    """Play every episode in the first lane, while the others idle; return what came of it and is attached to it."""
    lanes = lanes_of(name, actions)
    played = [play(lanes, [place], actions == "sampled")[place] for place in range(N_EPISODES)]
    return {one.place: (one.episode, one.attached) for one in played}


def played_alone(name: str, actions: str) -> dict[int, Episode]:
    return {place: episode for place, (episode, _) in played_alone_with_attachments(name, actions).items()}


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        (name, actions)
        for name in KINDS
        for actions in ("continuous", "argmax", "sampled")
        if not (name == "gru per action" and actions == "continuous")
    ],
)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_an_episode_is_the_same_bit_for_bit_in_any_lane_beside_any_others(
    name: str, actions: str, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(N_EPISODES)))
    n = data.draw(st.integers(2, N_EPISODES))
    alone = played_alone_with_attachments(name, actions)
    together = play(lanes_of(name, actions), order[:n], actions == "sampled")
    found = {place: (played.episode, played.attached) for place, played in together.items()}
    assert found == {place: alone[place] for place in order[:n]}


@pytest.mark.parametrize("name", [name for name in KINDS if name != "gru per action"])
def test_the_episodes_of_these_tests_tell_bits_apart(name: str) -> None:
    """Where actions are numbers: the choice of one of a few is the same for many weights."""
    alone = played_alone(name, "continuous")
    assert len({episode.return_ for episode in alone.values()}) == N_EPISODES
    behaviours = [attached[BEHAVIOUR] for _, attached in played_alone_with_attachments(name, "continuous").values()]
    assert len(set(behaviours)) == N_EPISODES
    assert set(map(len, behaviours)) == {12}
    lanes = lanes_of(name, "continuous")

    def begin(place: int, lane: int) -> Beginning:
        beginning = begin_in(lanes)(place, lane)
        row = lanes.policy.rows[lane]
        row.copy_(torch.nextafter(row, torch.tensor(math.inf)))
        return beginning

    changed = {played.place: played.episode for played in lanes.play(range(N_EPISODES), 90, begin, lambda: False)}
    assert all(changed[place] != alone[place] for place in range(0, N_EPISODES, 2))


def test_an_episode_ends_with_the_environment_or_after_max_steps() -> None:
    alone = played_alone("gru", "argmax")
    assert all(alone[place].steps == 90 for place in range(0, N_EPISODES, 2))
    assert len({alone[place].steps for place in range(1, N_EPISODES, 2)}) > 3
    assert all(1 <= alone[place].steps <= 40 for place in range(1, N_EPISODES, 2))
    assert all(episode.frames == episode.steps for episode in alone.values())
    assert all(episode.status == Status.OK for episode in alone.values())


def test_lanes_choose_what_the_module_chooses_alone() -> None:
    """The forms agree closely, not bit for bit; with sampled actions, from the same numbers of the same stream."""
    for name, actions in (("gru", "argmax"), ("lstm", "sampled"), ("snail", "sampled"), ("mlp", "argmax")):
        kind, space, kwargs = KINDS[name]
        buttons = gymnasium.spaces.Discrete(6, start=3)
        single = policy_of(kind, space, buttons, actions=actions, **kwargs)
        first = FirstLane(single, N_LANES)
        single.flat.copy_(torch.randn(single.n_params, generator=torch.Generator().manual_seed(3)))
        first.flat.copy_(single.flat)
        values = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)  # more than a block of numbers
        chosen = []
        for actor in (single, first):
            actor.reset(stream(7, Kind.CHILD.action_purpose, 1, 2, 3))
            chosen.append([actor.act(value) for value in values])
        assert chosen[0] == chosen[1]
        assert len(set(chosen[0])) > 2
        assert set(chosen[0]) <= set(range(3, 9))


def test_a_lane_without_a_number_left_draws_on() -> None:
    """Lanes that began at different steps go on in their own streams, block after block."""
    lanes = lanes_of("mlp", "sampled")
    policy = lanes.policy
    drawn: dict[int, list[float]] = {lane: [] for lane in range(N_LANES)}
    for step in range(300):
        if step % 29 == 0 and step // 29 < N_LANES:
            policy.reset(step // 29, np.random.default_rng(step // 29))
            drawn[step // 29] = []
        for lane, number in enumerate(policy._drawn().tolist()):
            drawn[lane].append(number)
    for lane, numbers in drawn.items():
        assert numbers == np.random.default_rng(lane).random(300 - 29 * lane, np.float32).tolist()


def test_stopping_is_noticed_before_the_next_step() -> None:
    lanes = lanes_of("gru", "argmax")
    whole = play(lanes, range(N_EPISODES))
    for stop_at in (0, 1, 13, 100):
        polls = iter(range(10**6))
        stopped = functools.partial(lambda polls, stop_at: next(polls) >= stop_at, polls, stop_at)
        played = list(lanes.play(range(N_EPISODES), 90, begin_in(lanes), stopped))
        found = {p.place: p.episode for p in played}
        assert sorted(found) == list(range(N_EPISODES))
        assert next(polls) == stop_at + 1
        complete = {place for place, episode in found.items() if episode.status == Status.OK}
        assert all(found[place] == whole[place].episode for place in complete)
        assert {p.place for p in played if BEHAVIOUR in p.attached} == complete
        rest = [found[place] for place in found.keys() - complete]
        assert rest
        assert all(e.status == Status.STOPPED and e.steps <= stop_at for e in rest)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_harm_only_their_own_lane(value: float) -> None:
    lanes = lanes_of("gru", "continuous")
    alone = played_alone("gru", "continuous")

    def begin(place: int, lane: int) -> Beginning:
        beginning = begin_in(lanes)(place, lane)
        if place % 3 == 0:
            lanes.policy.rows[lane].fill_(value)
        return beginning

    for played in lanes.play(range(N_EPISODES), 90, begin, lambda: False):
        if played.place % 3:
            assert played.episode == alone[played.place]
        else:
            assert (played.episode.status, played.episode.steps) == (Status.ERROR, 1)
            assert played.attached == {
                REASON: b"PolicyError: policy: expected outputs that are numbers, found [nan, nan] (list)"
            }
    assert {p: played.episode for p, played in play(lanes, range(N_EPISODES)).items()} == alone


def test_what_the_environment_raises_is_not_caught_and_lanes_can_be_used_again() -> None:
    lanes = lanes_of("gru", "argmax")
    env = lanes._env
    assert isinstance(env, Echo)
    env.fault_at = 20
    with pytest.raises(RuntimeError, match="it cannot step"):
        play(lanes, range(N_EPISODES))
    assert {p: played.episode for p, played in play(lanes, range(N_EPISODES)).items()} == played_alone("gru", "argmax")


def test_the_shares_of_time_sum_to_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    step = Echo.step

    def timed(self: Echo, actions: NDArray[np.generic]) -> None:
        nonlocal clock
        clock += 1
        step(self, actions)

    monkeypatch.setattr(Echo, "step", timed)
    monkeypatch.setattr("gadask.play.lanes.time.perf_counter", lambda: clock)
    played = play(lanes_of("gru", "argmax"), range(N_EPISODES))
    assert sum(one.seconds for one in played.values()) == pytest.approx(clock)
    assert all(one.seconds >= one.episode.steps / N_LANES - 1e-9 for one in played.values())


def test_weights_of_all_lanes_are_views_at_equal_alignment() -> None:
    lanes = lanes_of("gru", "argmax")
    for row in lanes.policy.rows:
        assert row.is_contiguous()
        assert row.data_ptr() % 64 == 0


def test_large_networks_have_fewer_lanes() -> None:
    env = EnvConfig("gadask/MetaBandit-v0")
    buttons = gymnasium.spaces.Discrete(5)
    counts = [count_lanes(env, policy_of("gru", VECTOR, buttons, units=units)) for units in (8, 200, 400, 1500)]
    assert counts[0] == 64
    assert 64 > counts[1] > counts[2] > counts[3] == 4
