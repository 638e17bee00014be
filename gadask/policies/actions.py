"""From a network's outputs to actions, for one lane or many.

| `policy.kwargs.actions` | action space | action |
| --- | --- | --- |
| `"argmax"` (default) | Discrete | the largest output, the first of equals |
| `"sampled"` | Discrete | drawn from the softmax of the outputs, with one uniform number a step |
| `"argmax"` | Box | the outputs through tanh, scaled to the bounds; unbounded entries as they are, then clipped |
"""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.errors import PolicyError

CHOICES = ("argmax", "sampled")
"""How actions are chosen."""


class Actions:
    """Chooses actions of one space; holds buffers for `n_lanes` lanes."""

    space: gymnasium.Space
    how: str
    sampled: bool
    """Whether `choose` needs a uniform number for each lane."""
    is_discrete: bool

    def __init__(self, space: gymnasium.Space, how: str, n_lanes: int = 1) -> None:
        """Raises `PolicyError` for a space or a way of choosing that is not supported."""
        if how not in CHOICES:
            expected = " or ".join(map(repr, CHOICES))
            raise PolicyError(f"policy.kwargs.actions: expected {expected}, found {how!r}")
        n = n_outputs(space)
        self.space = space
        self.how = how
        self.sampled = how == "sampled"
        self.is_discrete = isinstance(space, gymnasium.spaces.Discrete)
        if not self.is_discrete:
            if self.sampled:
                raise PolicyError(
                    f"policy.kwargs.actions: expected 'argmax' for the action space {space}, found 'sampled'; leave it"
                    " out: only Discrete actions can be sampled"
                )
            self._bounded = np.isfinite(space.low) & np.isfinite(space.high)
            low, high = np.where(self._bounded, (space.low, space.high), 0) / 2
            self._middle, self._radius = low + high, high - low
        else:
            self._first = int(space.start)
            self._actions = np.zeros(n_lanes, np.int64)
            self._peaks = np.zeros((n_lanes, 1), np.float32)
            self._sums = np.zeros((n_lanes, n), np.float32)
            self._targets = np.zeros((n_lanes, 1), np.float32)
            self._above = np.zeros((n_lanes, n), np.bool_)

    def choose(self, outputs: NDArray[np.float32], uniforms: NDArray[np.float32] | None = None) -> NDArray[np.generic]:
        """Return one action a lane for `outputs` of shape `(n_lanes, n_outputs)`.

        Discrete: int64 `(n_lanes,)`, valid until the next call. Box: `(n_lanes, *space.shape)` of the space's dtype.
        `uniforms` holds a number in [0, 1 − 2⁻²⁴] for each lane if `sampled`.
        """
        if not self.is_discrete:
            raw = outputs.reshape(-1, *self.space.shape)
            scaled = np.where(self._bounded, self._middle + self._radius * np.tanh(raw), raw)
            return np.clip(scaled, self.space.low, self.space.high).astype(self.space.dtype)
        actions = self._actions
        if uniforms is None:
            outputs.argmax(1, actions)
        else:
            self._sample(outputs, uniforms)
        if self._first:
            actions += self._first
        return actions

    def _sample(self, outputs: NDArray[np.float32], uniforms: NDArray[np.float32]) -> None:
        """Take the first action whose cumulative probability is above the uniform number."""
        sums = self._sums
        np.maximum.reduce(outputs, axis=1, out=self._peaks, keepdims=True)
        np.subtract(outputs, self._peaks, out=sums)
        np.exp(sums, out=sums)
        np.add.accumulate(sums, axis=1, out=sums)
        np.multiply(sums[:, -1], uniforms, out=self._targets[:, 0])  # below the sum, rounding included
        np.greater(sums, self._targets, out=self._above)
        self._above.argmax(1, self._actions)


def n_outputs(space: gymnasium.Space) -> int:
    """Return how many numbers a network gives for an action; raise `PolicyError` for spaces not supported."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.Box):
        return int(np.prod(space.shape))
    raise PolicyError(f"policy: expected a Discrete or Box action space, found {space}")
