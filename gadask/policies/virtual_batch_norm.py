"""The Atari network of Salimans et al. 2017 (arXiv 1703.03864), with virtual batch normalisation.

    pixels → conv 16 8×8 stride 4 → conv 32 4×4 stride 2 → dense 256 → dense n_outputs

Every layer but the last is normalised and then has its ReLU. Virtual batch normalisation (Salimans et al. 2016, arXiv
1606.03498) subtracts from each unit, or channel of a convolution, its mean on 128 observations of random play, over all
places of the picture, and divides by its deviation there; a scale and a shift follow, which evolve as weights do. So
what a unit does depends on what differs between screens, and less on what they have in common.

As in the code of Such et al. 2017 (`ESAtariPolicy` of deep-neuroevolution): SAME padding, variance + 0.001, scale and
shift. That code also has biases before the normalisation, which takes them out again; they are left out here. With 84 ×
84 pixels in 4 channels and 18 actions there are 1,008,754 parameters.

Weights lie as those of `convolutional`: matrices `(inputs, outputs)`, of the last layer with the bias in the last row.

With its mean and variance known, a normalisation is one more factor of each weight and a bias. So the compiled kernels
play the network too, with weights that are multiplied out when an episode begins.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from gadask.policies.actions import n_outputs
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.kernels import CompiledNetwork, Convolution, Window, instruction_set
from gadask.policies.pixels import image_of, windows_of

_REFERENCE_SIZE = 128
_FILTERS = 16, 32
_KERNELS = (8, 4), (4, 2)
"""Kernel and stride of the two convolutions."""
_HIDDEN = 256
_EPSILON = 1e-3
"""Added to every variance."""
_KERNEL_FILTERS = 32  # the least that a convolution of the compiled kernels has


def salimans2017(
    observation_space: gymnasium.Space, action_space: gymnasium.Space, initial: str = "fan-in"
) -> NormalisedNetwork:
    """Build the network of Salimans et al. 2017; raises `PolicyError`."""
    shape, dtype = image_of("salimans2017", observation_space)
    return NormalisedNetwork(shape, dtype, n_outputs(action_space), initial)


class VirtualBatchNorm(nn.Module):
    """Normalises units by what they were on reference observations; `measure` before the first call."""

    mean: torch.Tensor
    """Of each unit on the reference observations, shape `(n_units,)`."""
    deviation: torch.Tensor
    """The square root of each unit's variance there + 0.001."""

    def __init__(self, n_units: int) -> None:
        """Make a normalisation that changes nothing."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_units), requires_grad=False)
        self.shift = nn.Parameter(torch.zeros(n_units), requires_grad=False)
        self.register_buffer("mean", torch.zeros(n_units))
        self.register_buffer("deviation", torch.ones(n_units))

    def measure(self, values: torch.Tensor) -> None:
        """Take mean and variance of every unit from `values`, shape `(n_observations, n_units, ...)`."""
        axes = [axis for axis in range(values.ndim) if axis != 1]
        variance, mean = torch.var_mean(values, axes, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_((variance + _EPSILON).sqrt())

    def factor(self) -> torch.Tensor:
        """Return what each unit is multiplied by, shape `(n_units,)`."""
        return self.scale / self.deviation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values normalised, shape `(n_observations, n_units, ...)`."""
        shape = -1, *[1] * (values.ndim - 2)
        return (values - self.mean.view(shape)) * self.factor().view(shape) + self.shift.view(shape)


class NormalisedNetwork(nn.Module):
    """Two convolutions and two dense layers; see the module's docstring."""

    takes_uint8 = True
    reference_size = _REFERENCE_SIZE

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any], n_outputs: int, initial: str) -> None:
        """Make a network for images of `shape` (channels, height, width); raises `PolicyError` for a wrong kwarg."""
        check_scheme(initial)
        super().__init__()
        self.initial = initial
        channels, height, width = self.shape = shape
        self.dtype = dtype
        self.windows = windows_of(_KERNELS, height, width, same=True)
        n_features = self.windows[-1].rows * self.windows[-1].columns * _FILTERS[1]
        self.conv1 = _matrix(8 * 8 * channels, _FILTERS[0])
        self.conv2 = _matrix(4 * 4 * _FILTERS[0], _FILTERS[1])
        self.dense = _matrix(n_features, _HIDDEN)
        self.output = _matrix(_HIDDEN + 1, n_outputs)
        self.norm1 = VirtualBatchNorm(_FILTERS[0])
        self.norm2 = VirtualBatchNorm(_FILTERS[1])
        self.norm3 = VirtualBatchNorm(_HIDDEN)

    def refer(self, observations: torch.Tensor) -> None:
        """Measure every unit, with the present weights, on images of shape `(128, channels, height, width)`."""
        self._hidden(observations, measures=True)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the output, float32 `(1, n_outputs)`, for an image `(1, channels, height, width)`."""
        return torch.addmm(self.output[-1], self._hidden(observation, measures=False), self.output[:-1])

    def _hidden(self, observations: torch.Tensor, measures: bool) -> torch.Tensor:
        """Return the last hidden layer, shape `(n_observations, 256)`."""
        x = observations.float()
        if observations.dtype == torch.uint8:
            x = x / 255
        n_channels = observations.shape[1]
        first, second = _FILTERS
        kernels = (
            self.conv1.view(2, 2, n_channels, 4, 4, first).permute(5, 2, 0, 3, 1, 4).reshape(first, n_channels, 8, 8),
            self.conv2.view(4, 4, first, second).permute(3, 2, 0, 1),
        )
        for window, kernel, norm in zip(self.windows, kernels, (self.norm1, self.norm2), strict=True):
            x = functional.pad(x, (window.left, window.right, window.top, window.bottom))
            x = functional.conv2d(x, kernel, stride=window.stride)
            if measures:
                norm.measure(x)
            x = norm(x).relu()
        x = x.permute(0, 2, 3, 1).reshape(len(x), -1) @ self.dense
        if measures:
            self.norm3.measure(x)
        hidden: torch.Tensor = self.norm3(x).relu()
        return hidden

    def compiled(self, precision: str) -> FoldedNetwork | None:
        """Return the same network as `kernels` compute it; None where they cannot run, and for int8."""
        if precision != "float32" or instruction_set() is None:
            return None
        return FoldedNetwork(self)

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        hidden = (self.conv1, self.norm1), (self.conv2, self.norm2), (self.dense, self.norm3)
        output = self.output.data
        return [
            *(
                Layer(weights.data, len(weights), 1, ((norm.scale.data, 1.0), (norm.shift.data, 0.0)))
                for weights, norm in hidden
            ),
            Layer(output[:-1], len(output) - 1, 1, ((output[-1], 0.0),), is_output=True),
        ]


class FoldedNetwork:
    """The network as the compiled kernels compute it: weights times factors, and biases, in matrices beside it.

    The kernels have three convolutions of 32 channels or more. Channels 16 to 31 of the first are 0 here, and the third
    hands its input on, 1 × 1, which a sum with zeros does exactly.
    """

    kernels: str
    """What computes it, in words."""

    def __init__(self, module: NormalisedNetwork) -> None:
        """Take over a network whose parameters are where they will stay."""
        self._module = module
        channels, *_ = module.shape
        last = module.windows[-1]
        self._conv1 = torch.zeros(8 * 8 * channels + 1, _KERNEL_FILTERS)
        self._conv2 = torch.zeros(4 * 4 * _KERNEL_FILTERS + 1, _FILTERS[1])
        self._dense = torch.zeros(len(module.dense) + 1, _HIDDEN)
        convolutions = [
            Convolution(self._conv1, module.windows[0]),
            Convolution(self._conv2, last),
            Convolution(
                torch.eye(_FILTERS[1] + 1, _FILTERS[1]),
                Window(1, 1, last.rows, last.columns, top=0, left=0, bottom=0, right=0),
            ),
        ]
        self._network = CompiledNetwork(
            module.shape, convolutions, self._dense, module.output, True, "float32", module.dtype
        )
        self.kernels = self._network.kernels
        self._is_folded = False

    def mutate(self, flat: torch.Tensor, parent: torch.Tensor, noise: torch.Tensor, weight: float) -> None:
        """Write `parent + weight × noise` to `flat`."""
        torch.add(parent, noise, alpha=weight, out=flat)

    def begin(self) -> None:
        """Take note that parameters or what was measured may have changed."""
        self._is_folded = False

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the output, float32 `(1, n_outputs)`, valid until the next call."""
        if not self._is_folded:
            self._fold()
            self._is_folded = True
        return self._network(image)

    def _fold(self) -> None:
        """Write weights and biases of the three normalised layers."""
        module = self._module
        first = _FILTERS[0]
        by_patch = self._conv2[:-1].view(4 * 4, _KERNEL_FILTERS, -1)[:, :first]
        layers = (
            (module.conv1, module.norm1, self._conv1[:-1, :first], self._conv1[-1, :first]),
            (module.conv2.view(by_patch.shape), module.norm2, by_patch, self._conv2[-1]),
            (module.dense, module.norm3, self._dense[:-1], self._dense[-1]),
        )
        for weights, norm, to_weights, to_bias in layers:
            factor = norm.factor()
            torch.mul(weights, factor, out=to_weights)
            torch.sub(norm.shift, norm.mean * factor, out=to_bias)
        self._network.begin()


def _matrix(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """Return a layer's parameters."""
    return nn.Parameter(torch.zeros(n_inputs, n_outputs), requires_grad=False)
