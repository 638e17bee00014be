"""What a network reads from memory at each step: the rows of its dense layer that the compiled kernels need again."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.bench.observed_network import ObservedNetwork
from gadask.config import Config
from gadask.envs import make_env
from gadask.play.rollout import play_episode
from gadask.policies import make_policy
from gadask.policies.kernels import CompiledNetwork

_EPISODES, _STEPS = 6, 100


class CountingNetwork(ObservedNetwork):
    """Counts the bytes that the dense layer reads, but for the first step of a network, which reads all it needs."""

    n_bytes: list[int]
    """Of each step."""

    def __init__(self, network: CompiledNetwork, precision: str) -> None:
        """Arguments are as for `ObservedNetwork`."""
        super().__init__(network, precision)
        self.n_bytes = []

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's outputs, and count."""
        is_first = bool(self.structure.fresh)
        output = super().__call__(image)
        if not is_first:
            self.n_bytes.append(len(self.rows) * self.row_bytes)
        return output


def bytes_per_step(config: Config) -> float | None:
    """Return the mean bytes of weights that a step of a random network reads; None where no compiled kernel plays."""
    env = make_env(config.env)
    try:
        policy = make_policy(config.policy, env.observation_space, env.action_space)
        network = getattr(policy, "_compiled", None)
        if not isinstance(network, CompiledNetwork):
            return None
        counting = CountingNetwork(network, config.policy.precision)
        policy._compiled = cast("Any", counting)
        for seed in range(_EPISODES):
            policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed)))
            play_episode(env, policy, seed, _STEPS)
        return float(np.mean(counting.n_bytes))
    finally:
        env.close()
