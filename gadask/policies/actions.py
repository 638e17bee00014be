"""From a network's outputs to actions, for one lane or many.

| `policy.kwargs.actions` | action space | action |
| --- | --- | --- |
| `"argmax"` (default) | Discrete | the largest output, the first of equals |
| `"sampled"` | Discrete | drawn from the softmax of the outputs, with one uniform number a step |
| `"argmax"` | Box | the outputs through tanh, scaled to the bounds; unbounded entries as they are, then clipped |
| `"uniform:5"` | bounded Box | each entry one of 5 values, evenly spaced from bound to bound: that of the largest of \
its 5 outputs |

A network's factory is given a `MultiDiscrete` space in the last case, with a choice of 5 for each entry (Salimans et
al. 2017, arXiv 1703.03864, binned the actions of Swimmer and Hopper in this way).
"""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.blame import value_in_short
from gadask.errors import PolicyError

_MAX_VALUES = 1000
_MANY = 32


class Actions:
    """Chooses actions of one space; holds buffers for `n_lanes` lanes."""

    space: gymnasium.Space
    how: str
    n_outputs: int
    """Numbers that a network gives for an action."""
    sampled: bool
    """Whether `choose` needs a uniform number for each lane."""
    is_discrete: bool
    bounded: NDArray[np.bool_]
    """Which entries of a Box have two finite bounds; without binned actions."""
    middle: NDArray[np.floating]
    """Of the bounds; 0 where there are none."""
    radius: NDArray[np.floating]
    """From the middle to the bounds."""
    values: NDArray[np.float64] | None
    """With binned actions the values of each entry, shape `(n_entries, n_values)`."""

    def __init__(self, space: gymnasium.Space, how: str, n_lanes: int = 1) -> None:
        """Raises `PolicyError` for a space or a way of choosing that is not supported."""
        self.space = space
        self.how = how
        self.n_outputs = n = n_outputs(network_space(space, how))
        self.sampled = how == "sampled"
        self.is_discrete = isinstance(space, gymnasium.spaces.Discrete)
        self.values = None
        if n_values := _n_values(how):
            self.values = np.linspace(space.low.reshape(-1), space.high.reshape(-1), n_values, axis=1)
            self._entries = np.arange(len(self.values))
        elif not self.is_discrete:
            self.bounded = np.isfinite(space.low) & np.isfinite(space.high)
            low, high = np.where(self.bounded, (space.low, space.high), 0) / 2
            self.middle, self.radius = low + high, high - low
        else:
            self._first = int(space.start)
            self._actions = np.zeros(n_lanes, np.int64)
            self._peaks = np.zeros((n_lanes, 1), np.float32)
            self._sums = np.zeros((n_lanes, n), np.float32)
            self._targets = np.zeros((n_lanes, 1), np.float32)
            self._above = np.zeros((n_lanes, n), np.bool_)

    def choose_one(
        self, outputs: NDArray[np.float32], uniforms: NDArray[np.float32] | None, observation: NDArray[np.generic]
    ) -> int | NDArray[np.generic]:
        """Return the action of one lane for `outputs` of shape `(1, n_outputs)`; an int where it is Discrete.

        Raises `PolicyError` if they say nothing about an action, such as NaN; names an infinite `observation`.
        """
        if not self.is_discrete:
            is_small = outputs.size < _MANY  # then Python is faster than numpy
            total = sum(outputs[0].tolist()) if is_small else np.maximum.reduce(outputs, axis=None)
            if total != total and self.undecided(outputs)[0]:
                raise PolicyError(self.complaint(outputs[0], observation))
            action: NDArray[np.generic] = self.choose(outputs)[0]
            return action
        with np.errstate(invalid="ignore"):  # infinity less infinity
            number = int(self.choose(outputs, uniforms)[0])
        # The largest output is NaN if any is, and so is a sum.
        evidence = self._sums.item(self.n_outputs - 1) if self.sampled else outputs.item(number - self._first)
        if evidence != evidence:
            raise PolicyError(self.complaint(outputs[0], observation))
        return number

    def undecided(self, outputs: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return of each lane whether its outputs say nothing about an action: NaN, or a softmax of infinity."""
        largest: NDArray[np.float32] = np.maximum.reduce(outputs, axis=1)  # NaN if there is any
        return np.isnan(largest) | (np.isposinf(largest) & self.sampled)

    def complaint(self, outputs: NDArray[np.float32], observation: NDArray[np.generic] | None = None) -> str:
        """Return what is said of such outputs."""
        is_infinite = observation is not None and observation.dtype.kind == "f" and np.isinf(observation).any()
        cause = f" for the observation {value_in_short(observation)}" if is_infinite else ""
        return f"policy: expected outputs that are numbers, found {value_in_short(outputs.tolist())}{cause}"

    def choose(self, outputs: NDArray[np.float32], uniforms: NDArray[np.float32] | None = None) -> NDArray[np.generic]:
        """Return one action a lane for `outputs` of shape `(n_lanes, n_outputs)`.

        Discrete: int64 `(n_lanes,)`, valid until the next call. Box: `(n_lanes, *space.shape)` of the space's dtype.
        `uniforms` holds a number in [0, 1 − 2⁻²⁴] for each lane if `sampled`.
        """
        if self.values is not None:
            best = outputs.reshape(len(outputs), *self.values.shape).argmax(2)
            values: NDArray[np.generic] = self.values[self._entries, best].astype(self.space.dtype)
            return values.reshape(-1, *self.space.shape)
        if not self.is_discrete:
            raw = outputs.reshape(-1, *self.space.shape)
            scaled = np.where(self.bounded, self.middle + self.radius * np.tanh(raw), raw)
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


def network_space(space: gymnasium.Space, how: str) -> gymnasium.Space:
    """Return the space that a network chooses from: `space`, or what is left of it where its entries are binned.

    Raises `PolicyError` for a way of choosing that is unknown or not for this space.
    """
    n_values = _n_values(how)
    if how not in ("argmax", "sampled") and not 2 <= n_values <= _MAX_VALUES:
        raise PolicyError(
            "policy.kwargs.actions: expected 'argmax', 'sampled' or 'uniform:K' with K values of each entry, such as"
            f" 'uniform:5', found {how!r}"
        )
    if how == "sampled" and isinstance(space, gymnasium.spaces.Box):
        raise PolicyError(
            f"policy.kwargs.actions: expected 'argmax' for the action space {space}, found 'sampled'; leave it"
            " out: only Discrete actions can be sampled"
        )
    if not n_values:
        return space
    if not isinstance(space, gymnasium.spaces.Box) or not space.is_bounded():
        raise PolicyError(
            f"policy.kwargs.actions: expected a bounded Box action space for {how!r}, found {space}; leave it out"
        )
    return gymnasium.spaces.MultiDiscrete([n_values] * int(np.prod(space.shape)))


def n_outputs(space: gymnasium.Space) -> int:
    """Return how many numbers a network gives for an action; raise `PolicyError` for spaces not supported."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, gymnasium.spaces.Box):
        return int(np.prod(space.shape))
    raise PolicyError(f"policy: expected a Discrete or Box action space, found {space}")


def _n_values(how: str) -> int:
    """Return K of `"uniform:K"`; 0 of anything else."""
    kind, _, number = how.partition(":")
    return int(number) if kind == "uniform" and number.isascii() and number.isdigit() else 0
