"""A network, its parameters as one vector, and its way from observation to action.

All parameters are views of one contiguous float32 vector, `Policy.flat`, in the order in which the module
registers them. Whoever writes that vector has set the genome's weights; nothing is copied a second time. A
module may store a weight in any layout, since initial parameters are i.i.d. noise but for a scale.

A module is called with one observation as a tensor of shape `(1, *observation_space.shape)`: float32, where
images of uint8 are divided by 255, unless the module has an attribute `takes_uint8 = True` and reads the
bytes itself. It returns a tensor of as many numbers as there are actions, or as an action has entries.
The batch is always one observation, since a kernel may sum in another order for another batch.

A module may have a method `compiled(precision)` that returns a `Compiled`, which then stands in for it.

A module with memory has a method `initial_state()` and is called with the observation and its state; it returns the
output and the next state. A state is whatever the module wants it to be. It is given to the module once, so the module
may write over it, and an episode begins with a new one.

A module may measure something with its weights on a few observations, as `virtual_batch_norm` does: it has an attribute
`reference_size = n` and a method `refer(observations)`. Before an episode that method is called with n observations of
random play, as one tensor of shape `(n, *observation_space.shape)`, numbers as above, unless the weights are the same
as in the last call. The observations are the same ones in the whole run. What it measures belongs in buffers, which are
exported with the weights. Such a module plays no lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.blame import in_one_line
from gadask.contract import Announced
from gadask.errors import PolicyError
from gadask.genomes.noise import Noise
from gadask.genomes.weights import as_tensor, mutate
from gadask.numerics import one_thread
from gadask.observations import CLIP, Gatherer, Normaliser
from gadask.policies.actions import Actions
from gadask.policies.initial import layers_of, scale_noise
from gadask.units import many

_TORCH_DTYPES = tuple(map(np.dtype, ["?", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]))
"""Others, such as uint16, torch does not compute with."""


class Compiled(Protocol):
    """The same network as a module, computed faster: what a module's method `compiled(precision)` may return."""

    kernels: str
    """What computes it, in words."""

    def mutate(self, flat: torch.Tensor, parent: torch.Tensor, noise: torch.Tensor, weight: float) -> None:
        """Write `parent + weight × noise` to the policy's `flat`, in the bits of `torch.add`."""

    def begin(self) -> None:
        """Begin an episode; the parameters may have changed."""

    def __call__(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """Return the output for the next observation: float32, shape `(1, ...)`, valid until the next call."""


class Policy:
    """A module whose weights are one vector, choosing actions for one environment; `actions` says how."""

    flat: torch.Tensor
    """All parameters: float32, shape `(n_params,)`, contiguous, 64-byte aligned. Write it in place with torch; then
    `reset`. What is written past torch between `mutate` and `reset`, with numpy or through `.data`, may be missed."""
    n_params: int
    """Length of `flat`."""
    module: nn.Module
    """The network, in evaluation mode; its parameters are views of `flat`."""
    observation_space: gymnasium.Space
    actions: Actions
    gathers: bool
    """Whether the moments of observations are gathered."""
    reference_size: int
    """How many observations `refer_to` is to be given before the first episode; 0: none."""

    def __init__(
        self,
        module: nn.Module,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        actions: str = "argmax",
        gathers: bool = False,
        precision: str = "float32",
    ) -> None:
        """Move the module's parameters into one vector; `actions` is as in `actions.py`, `gathers` for vectors only.

        Raises `PolicyError` if the module does not take the observations, does not give an action's shape, or has not
        this precision.
        """
        self.flat = _flatten(module)
        self.module = module.eval().requires_grad_(False)
        self.n_params = self.flat.numel()
        self.observation_space = observation_space
        self.actions = Actions(action_space, actions)
        self._scheme: str = getattr(module, "initial", "fan-in")
        self._layers = layers_of(module)
        self._compiled = _compile(module, precision)
        self._fit = Announced(observation_space.dtype, observation_space.shape)
        self._dtype, self._shape = observation_space.dtype, observation_space.shape
        self._is_foreign = observation_space.dtype not in _TORCH_DTYPES
        self._takes_uint8: bool = getattr(module, "takes_uint8", False)
        self._uint8 = observation_space.dtype == np.uint8
        self._remembers = callable(getattr(module, "initial_state", None))
        self._state: object = None
        self._stream: np.random.Generator | None = None
        self._uniforms = np.zeros(1, np.float32)
        self.gathers = gathers
        self._gatherer = Gatherer(1, observation_space.shape[0]) if gathers else None
        self._normalising: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
        self.reference_size = _reference_size(module, gathers)
        self._reference: torch.Tensor | None = None
        self._measured: NDArray[np.int32] | None = None  # the weights with which the module measured last, as bits
        self._check_shapes()
        self._state = self._initial_state()

    @property
    def kernels(self) -> str:
        """What computes the network, in words."""
        if self._compiled is not None:
            return self._compiled.kernels
        is_slow = hasattr(self.module, "compiled")
        return "torch" + (" without gadask's compiled kernels, several times slower than with them" if is_slow else "")

    @torch.no_grad()
    def initialise(self, noise: torch.Tensor) -> torch.Tensor:
        """Fill `flat` with initial parameters made of unit Gaussian noise, float32, shape `(n_params,)`; return it."""
        self.flat.copy_(noise)
        scale_noise(self._layers, self._scheme)
        self._begin()
        return self.flat

    def mutate(self, parent: torch.Tensor, noise: Noise, gene: int, weight: float) -> None:
        """Write a child of `parent`, float32, shape `(n_params,)`, contiguous, to `flat`, as `weights.mutate` does.

        To be followed by `reset`.
        """
        if self._compiled is None:
            mutate(self.flat, parent, noise, gene, weight)
        else:
            self._compiled.mutate(self.flat, parent, as_tensor(noise.slice(gene, self.n_params)), weight)

    def refer_to(self, observations: Sequence[NDArray[np.generic]]) -> None:
        """Have the module measure on these observations from now on, `reference_size` of them.

        Raises `EnvError` for an observation that its space does not announce.
        """
        self._reference = self._as_input(np.stack([self._fit(observation) for observation in observations]))
        self._measured = None

    def reset(self, stream: np.random.Generator | None = None) -> None:
        """Begin an episode: forget the one before; sampled actions are drawn from `stream` from now on.

        Raises `PolicyError` if actions are sampled and there is no stream, or reference observations are missing.
        """
        if self.actions.sampled and stream is None:
            raise PolicyError("policy.kwargs.actions: expected the episode's stream for sampled actions, found none")
        self._stream = stream
        if self.reference_size:
            self._measure()
        self._state = self._initial_state()
        self._begin()
        if self._gatherer is not None:
            self._gatherer.reset(0)

    def normalise_by(self, normaliser: Normaliser | None) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
        """Normalise observations from now on; None: give them to the network as they are.

        Returns the arrays that are subtracted and multiplied by; they may be written to.
        """
        self._normalising = None if normaliser is None else normaliser.arrays(np.float64)
        return self._normalising

    def moments(self) -> bytes | None:
        """Return what the episode observed so far, as `Moments.merged` takes it; None unless `policy.normalise`."""
        return None if self._gatherer is None else self._gatherer.packed(0)

    def act(self, observation: NDArray[np.generic]) -> int | NDArray[np.generic]:
        """Return the action for the next observation: an int, or an array of the action space's shape and dtype.

        Raises `EnvError` for an observation that its space does not announce, `PolicyError` for outputs that are NaN.
        """
        if self._gatherer is not None:
            observation = self._fit(observation)
            self._gatherer.add(observation[None])
        output = self.output(observation).reshape(1, -1)
        uniforms = None
        if self.actions.sampled:
            assert self._stream is not None  # reset saw to it
            self._stream.random(out=self._uniforms, dtype=np.float32)
            uniforms = self._uniforms
        return self.actions.choose_one(output, uniforms, observation)

    def output(self, observation: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the network's raw output for the next observation: float32, shape `(1, ...)`, valid until the next."""
        if (
            type(observation) is not np.ndarray
            or observation.dtype is not self._dtype
            or observation.shape != self._shape
        ):
            observation = self._fit(observation)
        if self._compiled is not None:
            return self._compiled(observation)
        if self._normalising is not None:
            mean, scale = self._normalising
            observation = np.clip(np.subtract(observation, mean) * scale, -CLIP, CLIP)
        tensor = self._as_input(observation[None])
        if self._remembers:
            found, self._state = self.module(tensor, self._state)
        else:
            found = self.module(tensor)
        output: NDArray[np.float32] = found.numpy()
        return output

    def _as_input(self, observations: NDArray[np.generic]) -> torch.Tensor:
        """Return observations, shape `(n, *observation_space.shape)`, as the module is given them."""
        if self._is_foreign:
            observations = observations.astype(np.float32)
        try:
            tensor = torch.from_numpy(observations)
        except ValueError:  # torch knows no negative strides
            tensor = torch.from_numpy(np.ascontiguousarray(observations))
        if not self._takes_uint8:
            tensor = tensor.float()
            if self._uint8:
                tensor = tensor / 255
        return tensor

    @torch.no_grad()
    def _measure(self) -> None:
        """Have the module measure with the present weights, unless it has."""
        if self._reference is None:
            raise PolicyError(
                f"policy.kind: expected observations of random play for {type(self.module).__name__}, found none; make"
                " the policy with gadask.play.reference.policy_for"
            )
        weights = self.flat.numpy().view(np.int32)
        if self._measured is None or not np.array_equal(weights, self._measured):
            with one_thread():
                self.module.refer(self._reference)  # type: ignore[operator]
            self._measured = weights.copy()

    def _begin(self) -> None:
        if self._compiled is not None:
            self._compiled.begin()

    def _initial_state(self) -> object:
        return self.module.initial_state() if self._remembers else None  # type: ignore[operator]

    def _check_shapes(self) -> None:
        """Play one observation of zeros, so that a module that does not fit is found before any node is asked for."""
        space = self.observation_space
        try:
            self._state = self._initial_state()
            found = self.output(np.zeros(space.shape, space.dtype)).shape
        except (Exception, SystemExit) as error:  # whatever a user's module raises
            raise PolicyError(
                f"policy.kind: {type(self.module).__name__} does not take an observation of {space}:"
                f" {in_one_line(error)}"
            ) from error
        if int(np.prod(found)) != self.actions.n_outputs:
            raise PolicyError(
                f"policy.kind: expected {type(self.module).__name__} to return {many(self.actions.n_outputs, 'number')}"
                f" for {self.actions.space}, found shape {found}"
            )


def _reference_size(module: nn.Module, gathers: bool) -> int:
    """Return how many reference observations a module asks for, 0 of most; raise `PolicyError` if it cannot have them.

    Observations that are normalised otherwise in every generation are no reference.
    """
    size = getattr(module, "reference_size", 0)
    name = type(module).__name__
    if not isinstance(size, int) or size < 0:
        raise PolicyError(f"policy.kind: expected {name}.reference_size to be a whole number, found {size!r}")
    if size and not callable(getattr(module, "refer", None)):
        raise PolicyError(f"policy.kind: expected a method {name}.refer beside {name}.reference_size, found none")
    if size and gathers:
        raise PolicyError(
            f"policy.normalise: expected false for {name}, which measures on reference observations, found true"
        )
    return size


def _compile(module: nn.Module, precision: str) -> Compiled | None:
    """Return the faster form of a module that has one; raise `PolicyError` if there is none of this precision."""
    compiled: Compiled | None = module.compiled(precision) if callable(getattr(module, "compiled", None)) else None  # type: ignore[operator]
    if precision != "float32" and compiled is None:
        raise PolicyError(
            f"policy.precision: {precision!r} is for 'such2017' and 'nature' with gadask's compiled kernels, which need"
            " GCC when gadask is installed, and AVX2 or NEON; expected 'float32'"
        )
    return compiled


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
