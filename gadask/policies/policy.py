"""A network, its parameters as one vector, and its way from observation to action.

All parameters are views of one contiguous float32 vector, `Policy.flat`, in the order in which the module
registers them. Whoever writes that vector has set the genome's weights; nothing is copied a second time. A
module may store a weight in any layout, since initial parameters are i.i.d. noise but for a scale.

A module is called with one observation as a tensor of shape `(1, *observation_space.shape)`: float32, where
images of uint8 are divided by 255, unless the module has an attribute `takes_uint8 = True` and reads the
bytes itself. It returns a tensor of as many numbers as there are actions, or as an action has entries.
The batch is always one observation, since a kernel may sum in another order for another batch.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.errors import PolicyError
from gadask.policies.initial import layers_of, scale_noise


class Policy:
    """A module whose weights are one vector, choosing actions for one environment.

    Discrete actions: the argmax of the output, the first of equals. Box actions: the output through tanh,
    scaled to the bounds; entries without two finite bounds are taken as they are and clipped.
    """

    flat: torch.Tensor
    """All parameters: float32, shape `(n_params,)`, contiguous, 64-byte aligned. Write it in place only."""
    n_params: int
    """Length of `flat`."""
    module: nn.Module
    """The network, in evaluation mode; its parameters are views of `flat`."""

    def __init__(self, module: nn.Module, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        """Move the module's parameters into one vector.

        Raises `PolicyError` if the module does not take the observations or does not give an action's shape.
        """
        self.flat = _flatten(module)
        self.module = module.eval().requires_grad_(False)
        self.n_params = self.flat.numel()
        self._scheme: str = getattr(module, "initial", "fan-in")
        self._layers = layers_of(module)
        self._takes_uint8: bool = getattr(module, "takes_uint8", False)
        self._uint8 = observation_space.dtype == np.uint8
        self._action_space = action_space
        if isinstance(action_space, gymnasium.spaces.Discrete):
            self._first_action = int(action_space.start)
        elif isinstance(action_space, gymnasium.spaces.Box):
            self._bounded = np.isfinite(action_space.low) & np.isfinite(action_space.high)
            low, high = np.where(self._bounded, (action_space.low, action_space.high), 0) / 2
            self._middle, self._radius = low + high, high - low
        self._check_shapes(observation_space, n_outputs(action_space))

    @torch.no_grad()
    def initialise(self, noise: torch.Tensor) -> torch.Tensor:
        """Fill `flat` with initial parameters made of unit Gaussian noise, float32, shape `(n_params,)`; return it."""
        self.flat.copy_(noise)
        scale_noise(self._layers, self._scheme)
        return self.flat

    def act(self, observation: NDArray[np.generic]) -> int | NDArray[np.generic]:
        """Return the action for one observation: an int, or an array of the action space's shape and dtype."""
        output = self.output(observation)
        if isinstance(self._action_space, gymnasium.spaces.Discrete):
            return self._first_action + int(output.argmax())
        space = self._action_space
        assert isinstance(space, gymnasium.spaces.Box)
        raw = output.reshape(space.shape)
        action = np.where(self._bounded, self._middle + self._radius * np.tanh(raw), raw)
        return np.clip(action, space.low, space.high).astype(space.dtype)

    def output(self, observation: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the network's raw output for one observation: float32, shape `(1, ...)`."""
        tensor = torch.from_numpy(observation).unsqueeze(0)
        if not self._takes_uint8:
            tensor = tensor.float()
            if self._uint8:
                tensor = tensor / 255
        output: NDArray[np.float32] = self.module(tensor).numpy()
        return output

    def _check_shapes(self, observation_space: gymnasium.Space, expected: int) -> None:
        """Play one observation of zeros, so that a module that does not fit is found before any node is asked for."""
        try:
            found = self.output(np.zeros(observation_space.shape, observation_space.dtype)).shape
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise PolicyError(
                f"policy.kind: {type(self.module).__name__} does not take an observation of {observation_space}:"
                f" {type(error).__name__}: {reason}"
            ) from error
        if int(np.prod(found)) != expected:
            raise PolicyError(
                f"policy.kind: expected {type(self.module).__name__} to return {expected} numbers for"
                f" {self._action_space}, found shape {found}"
            )


def n_outputs(action_space: gymnasium.Space) -> int:
    """Return how many numbers a network gives for an action; raise `PolicyError` for spaces not supported."""
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return int(action_space.n)
    if isinstance(action_space, gymnasium.spaces.Box):
        return int(np.prod(action_space.shape))
    raise PolicyError(f"policy: expected a Discrete or Box action space, found {action_space}")


def _flatten(module: nn.Module) -> torch.Tensor:
    """Move all parameters into one new vector and make them views of it."""
    parameters = list(module.named_parameters())
    name = type(module).__name__
    if not parameters:
        raise PolicyError(f"policy.kind: {name} has no parameters; expected at least one to evolve")
    for key, parameter in parameters:
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise PolicyError(f"policy.kind: {name}.{key} has no shape yet; use a layer that is not lazy")
        if parameter.dtype != torch.float32:
            raise PolicyError(f"policy.kind: expected float32 parameters, found {parameter.dtype} in {name}.{key}")
    flat = torch.empty(sum(parameter.numel() for _, parameter in parameters), dtype=torch.float32)
    offset = 0
    for _, parameter in parameters:
        view = flat[offset : offset + parameter.numel()].view(parameter.shape)
        view.copy_(parameter.data)
        parameter.data = view
        offset += parameter.numel()
    return flat
