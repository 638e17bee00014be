"""An evolved policy as a torch module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from gadask.envs.base import Action, Observation
from gadask.observations import CLIP, Normaliser
from gadask.policies.policy import Policy


class EvolvedPolicy(nn.Module):
    """A genome's network together with its preprocessing: call it with what gadask's environment gives.

    `forward` is plain PyTorch. `act` chooses the action as on a node; with memory it remembers, so that `reset` begins
    an episode. A network of `policy.precision = "int8"` computes in float32 in `forward`, and in int8 in `act`.

    Example:
        >>> import gadask, gymnasium, torch
        >>> policy = gadask.open_run("runs/mine").policy("best")
        >>> observation, _ = gymnasium.make("CartPole-v1").reset(seed=1)
        >>> policy.act(observation) in (0, 1)
        True
        >>> policy(torch.from_numpy(observation)[None]).shape
        torch.Size([1, 2])
    """

    network: nn.Module
    """The network itself, whose parameters are the genome's weights."""
    mean: torch.Tensor
    """What is taken from observations that are normalised, shape `(n_entries,)`."""
    scale: torch.Tensor
    """What they are then multiplied by."""

    def __init__(self, policy: Policy, normaliser: Normaliser | None) -> None:
        """Take over a policy whose weights are decoded; `normaliser` is that of the genome's generation."""
        super().__init__()
        arrays = policy.normalise_by(normaliser)
        self._policy = policy
        self.network = policy.module
        self.observation_space = policy.observation_space
        self.actions = policy.actions
        """How outputs become actions of `actions.space`."""
        self._has_memory = callable(getattr(self.network, "initial_state", None))
        self._takes_bytes: bool = getattr(self.network, "takes_uint8", False)
        self._divides = policy.observation_space.dtype == np.uint8 and not self._takes_bytes
        self._normalises = arrays is not None
        if arrays is not None:
            for name, array in zip(("mean", "scale"), arrays, strict=True):
                self.register_buffer(name, torch.from_numpy(array))  # the same memory: `act` uses what is loaded
        self.eval()
        self.register_load_state_dict_post_hook(lambda module, _: module.reset())  # type: ignore[no-untyped-call]
        self.reset()

    def initial_state(self) -> Any:
        """Return the state of an episode's start, of a network with memory."""
        return self.network.initial_state() if self._has_memory else None  # type: ignore[operator]

    def forward(self, observation: torch.Tensor, state: Any = None) -> Any:
        """Return the network's outputs for an observation of shape `(1, *observation_space.shape)`.

        The dtype is that of the space. With memory it is given the state too, and returns the outputs and the next.
        """
        inputs = observation
        if self._normalises:
            inputs = torch.clamp((inputs.double() - self.mean) * self.scale, -CLIP, CLIP)
        if not self._takes_bytes:
            inputs = inputs.float()
        if self._divides:
            inputs = inputs / 255
        return self.network(inputs, state) if self._has_memory else self.network(inputs)

    def reset(self, seed: int = 0) -> None:
        """Begin an episode: forget the one before; actions that are sampled are drawn from the seed."""
        self._policy.reset(np.random.default_rng(seed))

    def act(self, observation: Observation) -> Action:
        """Return the action for the next observation: an int where it is Discrete, otherwise an array.

        Raises `EnvError` for an observation that is not of the space.
        """
        with torch.inference_mode():
            return self._policy.act(observation)
