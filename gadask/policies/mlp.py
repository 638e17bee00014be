"""Dense layers with tanh between them, for vector observations."""

from __future__ import annotations

from itertools import pairwise

import gymnasium
from torch import nn

from gadask.errors import PolicyError
from gadask.policies.initial import check_scheme
from gadask.policies.policy import n_outputs


class MLP(nn.Sequential):
    """Input → hidden widths, each through tanh → output."""

    def __init__(self, widths: list[int], initial: str) -> None:
        """Make the layers; `widths` runs from the input's to the output's."""
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.Tanh()]
        super().__init__(*layers[:-1])
        self.initial = initial


def mlp(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    hidden: str = "64,64",
    initial: str = "fan-in",
) -> MLP:
    """Build a multilayer perceptron; `hidden` holds the widths joined by commas, empty for a linear policy."""
    if not isinstance(observation_space, gymnasium.spaces.Box) or len(observation_space.shape) != 1:
        raise PolicyError(
            f"policy 'mlp' needs a Box observation of one axis, found {observation_space};"
            " use 'such2017' or 'nature' for images"
        )
    check_scheme(initial)
    try:
        widths = [int(width) for width in str(hidden).split(",") if str(hidden).strip()]
    except ValueError:
        widths = [0]
    if any(width < 1 for width in widths):
        raise PolicyError(f"policy.kwargs.hidden: expected widths such as '64,64', found {hidden!r}")
    return MLP([observation_space.shape[0], *widths, n_outputs(action_space)], initial)
