"""How a vector of parameters follows a gradient: Adam, and gradient descent with momentum.

Each works on blocks of columns, entry by entry in float32 and in one order of operations, each of which IEEE 754 rounds
in one way: the bits are the same on any machine and for any division into blocks. Adam's rate has two powers of
float64, in whose last bit C libraries may differ; rounding to float32 hides that.

Papers: Kingma and Ba 2015, *Adam* (arXiv 1412.6980); Salimans et al. 2017 (arXiv 1703.03864), whose program has both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]


class Optimiser(Protocol):
    """A rule for the next parameters; a frozen dataclass, which nodes are sent."""

    @property
    def n_vectors(self) -> int:
        """Vectors of the size of the parameters that it keeps from one update to the next; zeros at first."""

    def step(self, block: Block, gradient: Block, number: int) -> None:
        """Move parameters down a gradient, in place.

        `block` has shape `(1 + n_vectors, n_columns)`, the parameters in its first row; `gradient` has shape
        `(n_columns,)` and may be overwritten. `number` counts the updates of a run from 1.
        """


@dataclass(frozen=True)
class Adam:
    """Adam; its two vectors are the running means of the gradient and of its square."""

    learning_rate: float
    weight_decay: float = 0.0
    """This many times the parameters are added to the gradient."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def n_vectors(self) -> int:
        """Two."""
        return 2

    def step(self, block: Block, gradient: Block, number: int) -> None:
        """Move the parameters; see `Optimiser`."""
        parameters, mean, square = block
        gradient += np.float32(self.weight_decay) * parameters
        mean *= np.float32(self.beta1)
        mean += np.float32(1 - self.beta1) * gradient
        square *= np.float32(self.beta2)
        square += np.float32(1 - self.beta2) * (gradient * gradient)
        rate = self.learning_rate * math.sqrt(1 - self.beta2**number) / (1 - self.beta1**number)
        parameters -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(self.epsilon))


@dataclass(frozen=True)
class Momentum:
    """Gradient descent along a running mean of the gradient, which is its one vector."""

    learning_rate: float
    weight_decay: float = 0.0
    """This many times the parameters are added to the gradient."""
    momentum: float = 0.9
    """How much of the mean is kept, from 0 to below 1; 0 is plain gradient descent."""

    @property
    def n_vectors(self) -> int:
        """One."""
        return 1

    def step(self, block: Block, gradient: Block, number: int) -> None:
        """Move the parameters; see `Optimiser`."""
        parameters, mean = block
        gradient += np.float32(self.weight_decay) * parameters
        mean *= np.float32(self.momentum)
        mean += np.float32(1 - self.momentum) * gradient
        parameters -= np.float32(self.learning_rate) * mean
