"""Initial parameters: unit Gaussian noise, scaled layer by layer.

| scheme | weights | output layer's weights | biases |
| --- | --- | --- | --- |
| `fan-in` (Such et al. 2017) | noise × 1/√fan_in | × 0.1 of that | 0 |
| `unit-norm` (ga-dist) | noise, each output unit's divided by its L2 norm | likewise | 0 |

A module states its layers itself by a method `layers() -> list[Layer]`. For one that does not,
`layers_of` derives them from its `torch.nn` layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from gadask.errors import PolicyError

SCHEMES = ("fan-in", "unit-norm")
"""Names of the initial scales."""

OUTPUT_SCALE = 0.1
"""Factor on the output layer's initial weights, scheme `fan-in`."""

_NORMALISATION = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layer:
    """Where one layer's parameters lie and how they are scaled."""

    weight: torch.Tensor
    """Any shape; one axis counts the output units."""
    fan_in: int
    """Inputs that one output unit sums over."""
    output_axis: int
    """The axis of `weight` that counts the output units."""
    constants: tuple[tuple[torch.Tensor, float | torch.Tensor], ...]
    """Tensors that start at a constant: biases at 0, gains of normalisation layers at 1."""
    is_output: bool = False
    """Whether this is the layer that gives the policy's output."""


def scale_noise(layers: Iterable[Layer], scheme: str) -> None:
    """Turn unit Gaussian noise, already in the layers' tensors, into initial parameters in place."""
    for layer in layers:
        if scheme == "fan-in":
            layer.weight.mul_((OUTPUT_SCALE if layer.is_output else 1.0) * layer.fan_in**-0.5)
        else:
            axes = [axis for axis in range(layer.weight.ndim) if axis != layer.output_axis]
            norms = torch.linalg.vector_norm(layer.weight, dim=axes, keepdim=True)
            layer.weight.div_(norms.clamp_min_(torch.finfo(torch.float32).tiny))
        for tensor, value in layer.constants:
            tensor[...] = value


def check_scheme(scheme: str) -> None:
    """Raise `PolicyError` unless `scheme` is one of `SCHEMES`."""
    if scheme not in SCHEMES:
        raise PolicyError(f"policy.kwargs.initial: expected one of {', '.join(map(repr, SCHEMES))}, found {scheme!r}")


def layers_of(module: nn.Module) -> list[Layer]:
    """Return every parameter's place and scale, from the module's own `layers()` or else by type of layer.

    By type: parameters of two or more axes are weights with output units on the first axis (the second for
    transposed convolutions) and the product of the others as fan-in; an embedding's fan-in is 1. Gains of
    normalisation layers start at 1, every other vector or scalar at 0. The last weight is the output layer.
    """
    stated = getattr(module, "layers", None)
    if callable(stated):
        return list(stated())
    layers: list[Layer] = []
    seen: set[nn.Parameter] = set()  # tied parameters are scaled once
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            if parameter.ndim >= 2:
                axis = 1 if isinstance(owner, _TRANSPOSED) else 0
                fan_in = 1 if isinstance(owner, nn.Embedding) else parameter.numel() // parameter.shape[axis]
                layers.append(Layer(parameter.data, fan_in, axis, ()))
            else:
                value = 1.0 if isinstance(owner, _NORMALISATION) and name == "weight" else 0.0
                layers.append(Layer(parameter.data[:0], 1, 0, ((parameter.data, value),)))
    weights = [index for index, layer in enumerate(layers) if layer.weight.numel()]
    if weights:
        last = layers[weights[-1]]
        layers[weights[-1]] = Layer(last.weight, last.fan_in, last.output_axis, last.constants, is_output=True)
    return layers
