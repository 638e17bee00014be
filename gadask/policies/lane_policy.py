"""The lanes form of a policy: one network in many lanes, each with its own genome's weights.

A step of a small network costs less than the Python calls that make it up. In lanes one call computes all lanes, a
matrix product over views of the weights, one product a lane. Every lane is computed alike, wherever it lies and
whatever the others compute:

- a product (numpy's `matmul`) is one call of BLAS for each lane, always of the same shape and at the same alignment;
- tanh and exp are numpy's, which compute an entry in the same way at any place of an array; PyTorch's sigmoid computes
  the last entries of an array differently, and those are not always the same lane's;
- all other arithmetic is rounded as IEEE 754 says, so that order is all that matters.

So a lane's outputs depend, bit for bit, on its own weights and observations and on nothing else. They need not equal,
bit for bit, those of the same module called with one observation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.errors import PolicyError
from gadask.observations import CLIP, Gatherer, Normaliser
from gadask.policies.actions import Actions
from gadask.policies.policy import Policy

_LINE = 16  # float32 in 64 bytes, the widest vector and a line of the cache
_BLOCK = 64  # uniform numbers that a lane draws at a time


class LaneNetwork(ABC):
    """A network in several lanes; what they hold is written in place."""

    inputs: NDArray[np.float32]
    """What each lane is given next, written by the caller: shape `(n_lanes, *observation shape)`."""
    outputs: NDArray[np.float32]
    """What each lane answered: shape `(n_lanes, n_outputs)`."""

    @abstractmethod
    def step(self) -> None:
        """Compute `outputs` and the next state of every lane."""

    def reset(self, lane: int) -> None:  # noqa: B027 (a network without memory has nothing to forget)
        """Give one lane the state of an episode's start."""


@runtime_checkable
class PlaysLanes(Protocol):
    """What a module must have for its policy to play lanes."""

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network over `parameters`: by the module's names, each of shape `(n_lanes, *parameter shape)`.

        They are views of the lanes' weights, which change when a lane takes another genome.
        """


class LanePolicy:
    """A policy in `n_lanes` lanes."""

    rows: list[torch.Tensor]
    """Each lane's weights: float32, shape `(n_params,)`, contiguous, 64-byte aligned. Write them in place only."""
    n_lanes: int
    sampled: bool
    """Whether `reset` needs a stream."""
    outputs: NDArray[np.float32]
    """The network's raw outputs of the last step, shape `(n_lanes, n_outputs)`."""
    undecided: NDArray[np.bool_] | None
    """Lanes whose last outputs say nothing about an action, such as NaN, shape `(n_lanes,)`; None if there are none."""

    def __init__(self, policy: Policy, n_lanes: int) -> None:
        """Make lanes for a policy whose module `PlaysLanes`."""
        module = policy.module
        assert isinstance(module, PlaysLanes)
        self.n_lanes = n_lanes
        weights = aligned_zeros(n_lanes, policy.n_params)
        self.rows = list(torch.from_numpy(weights))
        parameters, offset = {}, 0
        for name, parameter in module.named_parameters():
            block = weights[:, offset : offset + parameter.numel()]
            parameters[name] = block.reshape(n_lanes, *parameter.shape)  # a view
            offset += parameter.numel()
        self._network = module.in_lanes(parameters)
        self.outputs = self._network.outputs
        self.undecided = None
        self._all_outputs = _whole(self.outputs)
        self._zeros = np.zeros(0 if self._all_outputs is None else self._all_outputs.size, np.float32)
        self._expected = policy.observation_space.dtype, (n_lanes, *policy.observation_space.shape)
        self._observed: NDArray[np.generic] | None = None
        self._actions = Actions(policy.actions.space, policy.actions.how, n_lanes)
        self._scale = np.float32(1 / 255 if policy.observation_space.dtype == np.uint8 else 1)
        self.sampled = self._actions.sampled
        n_entries = policy.observation_space.shape[0]
        self._gatherer = Gatherer(n_lanes, n_entries) if policy.gathers else None
        self._normalising: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
        self._streams: list[np.random.Generator | None] = [None] * n_lanes
        self._blocks = np.zeros((n_lanes, _BLOCK), np.float32)
        self._starts = np.arange(n_lanes) * _BLOCK
        self._next = self._starts.copy()  # place in `_blocks` of each lane's next number
        self._uniforms = np.zeros(n_lanes, np.float32)
        self._steps_left = _BLOCK  # at least, until a lane's block is used up

    def reset(self, lane: int, stream: np.random.Generator | None = None) -> None:
        """Begin an episode in one lane; sampled actions are drawn from `stream`, which is the lane's until the next."""
        self._network.reset(lane)
        if self._gatherer is not None:
            self._gatherer.reset(lane)
        if stream is not None:
            self._streams[lane] = stream
            self._draw(lane)

    def normalise_by(self, normaliser: Normaliser | None) -> None:
        """Normalise the observations of all lanes from now on; None: give them to the network as they are."""
        self._normalising = None if normaliser is None else normaliser.arrays(np.float32)

    def moments(self, lane: int) -> bytes | None:
        """Return what a lane's episode observed so far, for `Moments.merged`; None unless `policy.normalise`."""
        return None if self._gatherer is None else self._gatherer.packed(lane)

    def act(self, observations: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return one action a lane, valid until the next call, for `observations` of shape `(n_lanes, ...)`."""
        network = self._network
        inputs = network.inputs
        if observations is not self._observed:  # environments write theirs over and over
            dtype, shape = self._expected
            if observations.shape != shape or not np.can_cast(observations.dtype, dtype, "same_kind"):
                raise PolicyError(
                    f"observations: expected {dtype} of shape {shape}, found {observations.dtype} of shape"
                    f" {observations.shape}"
                )
            self._observed = observations
        if self._gatherer is not None:
            self._gatherer.add(observations)
        if self._normalising is None:
            np.multiply(observations, self._scale, out=inputs, casting="same_kind")
        else:
            mean, scale = self._normalising
            np.subtract(observations, mean, out=inputs, casting="same_kind")
            np.multiply(inputs, scale, out=inputs)
            np.clip(inputs, -CLIP, CLIP, out=inputs)
        network.step()
        self.undecided = None
        if self._all_outputs is None or self._all_outputs.dot(self._zeros) != 0:  # 0 × NaN, 0 × infinity
            self.undecided = self._actions.undecided(network.outputs)
        return self._actions.choose(network.outputs, self._drawn() if self.sampled else None)

    def complaint(self, lane: int) -> str:
        """Return what is said of an undecided lane's outputs."""
        return self._actions.complaint(self.outputs[lane])

    def _drawn(self) -> NDArray[np.float32]:
        """Return the next number of each lane's stream."""
        if not self._steps_left:
            used_up = self._next - self._starts == _BLOCK
            for lane in np.flatnonzero(used_up).tolist():
                self._draw(lane)
            self._steps_left = _BLOCK - int((self._next - self._starts).max())
        self._blocks.take(self._next, out=self._uniforms, mode="clip")
        self._next += 1
        self._steps_left -= 1
        return self._uniforms

    def _draw(self, lane: int) -> None:
        """Draw a lane's next block; a lane that has not begun an episode has only zeros."""
        stream = self._streams[lane]
        if stream is not None:
            stream.random(out=self._blocks[lane], dtype=np.float32)
        self._next[lane] = self._starts[lane]


def _whole(outputs: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return all of `outputs` and some zeros as the vector that they lie in; None if there is none."""
    base = outputs.base
    n_padded = len(outputs) * -(-outputs[0].size // _LINE) * _LINE
    if base is not None and base.dtype == outputs.dtype and base.flags.c_contiguous and base.size == n_padded:
        whole: NDArray[np.float32] = base.reshape(-1)
        return whole
    return None


def padded_zeros(n_lanes: int, width: int) -> NDArray[np.float32]:
    """Return contiguous zeros of shape `(n_lanes, width or a little more)`, each lane's row 64-byte aligned."""
    zeros: NDArray[np.float32] = torch.zeros(n_lanes, -(-width // _LINE) * _LINE).numpy()
    return zeros


def aligned_zeros(n_lanes: int, width: int) -> NDArray[np.float32]:
    """Return zeros of shape `(n_lanes, width)`, each lane's row 64-byte aligned."""
    return padded_zeros(n_lanes, width)[:, :width]
