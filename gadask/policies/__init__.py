"""Policies: networks whose parameters are one flat vector.

`make_policy` builds what a `PolicyConfig` names. Built-in kinds:

| kind | observation | network |
| --- | --- | --- |
| `such2017` | uint8 image | three convolutions with SAME padding, dense 512 (Such et al. 2017) |
| `nature` | uint8 image | the same with VALID padding (Mnih et al. 2015) |
| `salimans2017` | uint8 image | two convolutions, dense 256, with virtual batch normalisation (Salimans et al. 2017) |
| `mlp` | vector | dense layers with tanh between them |
| `gru`, `lstm` | vector | one recurrent cell |
| `gru-per-action` | vector | one small GRU an action, all with the same weights |
| `snail` | vector | dilated convolutions over time |
| `conv-gru` | small image | convolutions and a GRU |
| `conv-fast-weights` | small image | convolutions and a memory that multiplies |

`package.module:factory` names any function `(observation_space, action_space, **kwargs) -> torch.nn.Module`;
`Policy` says what such a module is given and what it returns. All kinds take the kwarg `actions`; see `actions.py`.
All but the first three also play in lanes, and so does any module that has what `PlaysLanes` names.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Iterable

import gymnasium
import numpy as np
from torch import nn

from gadask.blame import in_one_line
from gadask.config import PolicyConfig
from gadask.errors import GadaskError, PolicyError
from gadask.imports import find_user_function, import_user_module
from gadask.policies.actions import network_space
from gadask.policies.conv_memory import conv_fast_weights, conv_gru
from gadask.policies.convolutional import nature, such2017
from gadask.policies.lane_policy import LanePolicy, PlaysLanes
from gadask.policies.mlp import mlp
from gadask.policies.per_action import gru_per_action
from gadask.policies.policy import Policy
from gadask.policies.recurrent import gru, lstm
from gadask.policies.temporal import snail
from gadask.policies.virtual_batch_norm import salimans2017

__all__ = ["LanePolicy", "PlaysLanes", "Policy", "make_policy"]

_KINDS: dict[str, Callable[..., nn.Module]] = {
    "such2017": such2017,
    "nature": nature,
    "salimans2017": salimans2017,
    "mlp": mlp,
    "gru": gru,
    "lstm": lstm,
    "gru-per-action": gru_per_action,
    "snail": snail,
    "conv-gru": conv_gru,
    "conv-fast-weights": conv_fast_weights,
}


def make_policy(config: PolicyConfig, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> Policy:
    """Build the policy that `config` names for an environment's spaces; its parameters are not initialised.

    Raises `PolicyError` if the kind or one of its kwargs is unknown, or if it does not fit the spaces.
    """
    factory = _KINDS.get(config.kind) or _import_factory(config.kind)
    kwargs = dict(config.kwargs)
    actions = str(kwargs.pop("actions", "argmax"))
    _check_kwargs(config.kind, kwargs, factory)
    if config.normalise:
        _check_vectors(observation_space)
    try:
        module = factory(observation_space, network_space(action_space, actions), **copy.deepcopy(kwargs))
    except GadaskError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's function raises
        raise PolicyError(f"policy.kind: {config.kind!r} cannot make a network: {in_one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise PolicyError(
            f"policy.kind: expected {config.kind!r} to return a torch.nn.Module, found {type(module).__name__}"
        )
    return Policy(module, observation_space, action_space, actions, config.normalise, config.precision)


def _check_vectors(space: gymnasium.Space) -> None:
    """Raise `PolicyError` for observations that are not normalised."""
    is_vector = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
    if not is_vector or not np.issubdtype(space.dtype, np.floating):
        raise PolicyError(
            f"policy.normalise: expected observations that are vectors of floats, found {space}; leave it out"
        )


def _import_factory(kind: str) -> Callable[..., nn.Module]:
    """Return the function that `package.module:factory` names."""
    module_name, colon, name = kind.partition(":")
    if not colon:
        near = difflib.get_close_matches(kind, _KINDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "use one of those"
        expected = f"{', '.join(map(repr, _KINDS))} or 'package.module:factory'"
        raise PolicyError(f"policy.kind: expected {expected}, found {kind!r}; {hint}")
    module = import_user_module(module_name, "policy.kind", PolicyError)
    found: Callable[..., nn.Module] = find_user_function(module, name, "policy.kind", PolicyError)
    return found


def _check_kwargs(kind: str, kwargs: Iterable[str], factory: Callable[..., nn.Module]) -> None:
    """Raise `PolicyError` for the first kwarg that the factory does not take."""
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return  # a callable without a signature checks its kwargs itself
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters[2:] if parameter.kind is not parameter.VAR_POSITIONAL]
    known.append("actions")
    for key in kwargs:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise PolicyError(f"policy.kwargs: unknown key {key!r} for policy {kind!r}; {hint}")
