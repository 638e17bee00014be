"""A Frostbite elite that the authors of *Deep Neuroevolution* evolved, played by gadask.

Its genome, in their noise table, through gadask's initial parameters, mutations, network and preprocessing: the returns
prove all of these at once, by something that nobody here made. One wrong pixel, weight or action leads to other
episodes. The genome is not part of gadask: the test is skipped where its file is not there.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.config import EnvConfig, NoiseConfig, PolicyConfig
from gadask.envs import Env, make_env
from gadask.genomes.seeding import seeds_of_starts
from gadask.genomes.weights import decode
from gadask.play.rollout import play_episode
from gadask.policies import Policy, make_policy

GENOME = Path(__file__).parents[2] / "shared" / "reference" / "frostbite_elite_2018.csv"
POWER = 0.002
N_SAMPLES = 250_000_000
_MAX_STEPS = 100_000

pytestmark = pytest.mark.skipif(not GENOME.exists(), reason=f"{GENOME} is not there")


class TheirNoise:
    """The noise table of the authors' program, with each slice in the order of gadask's parameters."""

    config = NoiseConfig(seed=123, size=N_SAMPLES)

    def __init__(self, n_actions: int) -> None:
        """Fill the table; a second per 30 million samples."""
        generator = np.random.RandomState(self.config.seed)
        self._samples = np.empty(N_SAMPLES, np.float32)
        for part in np.array_split(self._samples, 250):
            part[:] = generator.randn(len(part))
        self._places = gadasks_order(n_actions)

    def slice(self, index: int, n: int) -> NDArray[np.float32]:
        assert n == len(self._places)
        return self._samples[index : index + n][self._places]


def gadasks_order(n_actions: int) -> NDArray[np.int64]:
    """Return where each of gadask's parameters stands in TensorFlow's vector.

    There a convolution is height × width × in × out; gadask's first one is cut into blocks of 4 × 4 pixels.
    """
    places, begin = [], 0
    for shape in ((8, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64), (7744, 512), (512, n_actions)):
        n_weights, n_biases = int(np.prod(shape)), shape[-1]
        weights = np.arange(begin, begin + n_weights).reshape(shape)
        if shape[0] == 8:
            weights = weights.reshape(2, 4, 2, 4, 4, 32).transpose(0, 2, 4, 1, 3, 5)
        places += [weights.ravel(), np.arange(begin + n_weights, begin + n_weights + n_biases)]
        begin += n_weights + n_biases
    return np.concatenate(places)


def game(**kwargs: Any) -> Env:
    return make_env(EnvConfig("ALE/Frostbite-v5", kwargs, preprocessing="such2017"))


@pytest.fixture(scope="module")
def elite() -> Iterator[Policy]:
    with GENOME.open() as lines:
        origin, *mutations = csv.DictReader(lines)
    assert {float(mutation["power"]) for mutation in mutations} == {POWER}
    genome = tuple(int(row["noise_index"]) for row in (origin, *mutations))
    env = game()
    policy = make_policy(PolicyConfig("such2017"), env.observation_space, env.action_space)
    decode(policy.flat, genome, TheirNoise(env.action_space.n), policy.initialise, POWER)
    yield policy
    env.close()


def test_it_has_the_returns_of_the_authors_pipeline(elite: Policy) -> None:
    env = game()
    returns = [play_episode(env, elite, seed, _MAX_STEPS).return_ for seed in seeds_of_starts(30)]
    by_noops = itertools.islice(itertools.cycle([1610.0, 7920.0, 2370.0, 970.0]), 30)  # one no-op, two, three, four …
    assert returns == list(by_noops)
    assert np.mean(returns) == pytest.approx(3320.67, abs=0.01)


def test_through_another_picture_it_plays_otherwise(elite: Policy) -> None:
    """As in a third party's port: an area resize of bytes and one frame of FIRE."""
    env = make_env(EnvConfig("ALE/Frostbite-v5"))
    weights, bytes_policy = elite.flat, make_policy(PolicyConfig("such2017"), env.observation_space, env.action_space)
    bytes_policy.flat.copy_(weights)
    returns = [play_episode(env, bytes_policy, seed, _MAX_STEPS).return_ for seed in seeds_of_starts(30)[:4]]
    assert returns == [2860, 2610, 2800, 230]
