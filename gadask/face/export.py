"""Evolved policies as files that play without gadask.

| suffix | what it holds | read by |
| --- | --- | --- |
| `.safetensors` | the state dict of the network, and of what normalises observations | any library |
| `.pt2` | the program, `torch.export.load(FILE).module()` | PyTorch |
| `.onnx` | the program | ONNX Runtime and others |

A program is called with an observation of shape `(1, *observation shape)`; with `policy.kwargs.actions = "sampled"`
then with a number uniform in [0, 1) of shape `(1,)`; with memory then with the state. It returns the action, shape
`(1, …)`, the network's outputs and, with memory, the next state; in ONNX these are called `action`, `outputs` and
`state_0`, …. The metadata entry `gadask` says, in JSON, which run and genome the policy is.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gadask.blame import in_one_line
from gadask.errors import PolicyError, UsageError
from gadask.face import EXPORTED
from gadask.face.policy import EvolvedPolicy
from gadask.record import files

_KEY = "gadask"


class Program(nn.Module):
    """From an observation to an action, in PyTorch alone: what `gadask.policies.actions` does, for one lane.

    Example:
        >>> import gadask, torch
        >>> from gadask.face.export import Program
        >>> program = Program(gadask.open_run("runs/mine").policy("best"))
        >>> action, outputs = program(torch.zeros(1, 4))
        >>> action.shape, outputs.shape
        (torch.Size([1]), torch.Size([1, 2]))
    """

    values: torch.Tensor
    """With binned actions the values of each entry, shape `(n_entries, n_values)`."""
    low: torch.Tensor
    high: torch.Tensor
    bounded: torch.Tensor
    middle: torch.Tensor
    radius: torch.Tensor

    def __init__(self, policy: EvolvedPolicy) -> None:
        """Put the choice of an action behind a policy."""
        super().__init__()
        self.policy = policy
        self._actions = actions = policy.actions
        space = actions.space
        arrays = {}
        if not actions.is_discrete:
            arrays = {"low": space.low, "high": space.high}
            if actions.values is not None:
                arrays["values"] = actions.values
            else:
                arrays |= {"bounded": actions.bounded, "middle": actions.middle, "radius": actions.radius}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))
        self.eval()

    def forward(self, observation: torch.Tensor, *rest: Any) -> Any:
        """Return action, outputs and, with memory, the next state."""
        uniform, state = (rest[0], rest[1:]) if self._actions.sampled else (None, rest)
        found = self.policy(observation, *state)
        outputs, *after = found if state else (found,)
        return (self._action(outputs.reshape(1, -1), uniform), outputs, *after)

    def _action(self, outputs: torch.Tensor, uniform: torch.Tensor | None) -> torch.Tensor:
        space = self._actions.space
        if self._actions.is_discrete:
            if uniform is None:
                return outputs.argmax(1) + int(space.start)
            sums = (outputs - outputs.max(1, keepdim=True).values).exp().cumsum(1)
            is_above = (sums > sums[:, -1:] * uniform[:, None]).to(torch.int64)
            return is_above.argmax(1) + int(space.start)
        if self._actions.values is not None:
            best = outputs.reshape(len(self.values), -1).argmax(1, keepdim=True)
            return self.values.gather(1, best).to(self.low.dtype).reshape(1, *space.shape)
        raw = outputs.reshape(1, *space.shape)
        scaled = torch.where(self.bounded, self.middle + self.radius * raw.tanh(), raw)
        return torch.clamp(scaled, self.low, self.high).to(self.low.dtype)


def export_policy(policy: EvolvedPolicy, path: Path | str, about: Mapping[str, str]) -> Path:
    """Write a policy to a file, by its suffix, or leave the file as it was; `about` goes into its metadata.

    Returns the path.

    Raises:
        UsageError: the suffix is another one, or a package is missing.
        PolicyError: the network does what such a program cannot hold.
        RecordError: the file cannot be written.

    Example:
        >>> import gadask
        >>> from gadask.face.export import export_policy
        >>> policy = gadask.open_run("runs/mine").policy("best")
        >>> print(export_policy(policy, "policy.safetensors", {"run": "mine"}))
        policy.safetensors
    """
    path = Path(path)
    check_export(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, for those who maintain networks
        content = _WRITERS[path.suffix](policy, {_KEY: json.dumps(dict(about))})
    files.atomic_write(path, content)
    return path


def check_export(path: Path) -> None:
    """Raise `UsageError` for a file that no policy can be exported to, whatever the policy is.

    Example:
        >>> from pathlib import Path
        >>> from gadask.face.export import check_export
        >>> check_export(Path("policy.txt"))
        Traceback (most recent call last):
        gadask.errors.UsageError: policy.txt: expected a name that ends in .safetensors, .pt2, .onnx, found .txt
    """
    if path.suffix not in EXPORTED:
        raise UsageError(
            f"{path}: expected a name that ends in {', '.join(EXPORTED)}, found {path.suffix or 'no suffix'}"
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: expected an existing folder, found no {path.absolute().parent}")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if path.suffix == ".onnx" and missing:
        raise UsageError(f"{path}: expected the package {missing[0]}, found none; pip install 'gadask[onnx]'")


def _safetensors(policy: EvolvedPolicy, metadata: dict[str, str]) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.clone().contiguous() for name, tensor in policy.state_dict().items()}, metadata)


def _pt2(policy: EvolvedPolicy, metadata: dict[str, str]) -> bytes:
    content = io.BytesIO()
    torch.export.save(_exported(policy), content, extra_files=metadata)
    return content.getvalue()


def _onnx(policy: EvolvedPolicy, metadata: dict[str, str]) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(_exported(policy), dynamo=True, verbose=False)
        assert program is not None
        program.model.metadata_props.update(metadata)
        names = itertools.chain(("action", "outputs"), (f"state_{i}" for i in itertools.count()))
        for value, name in zip(program.model.graph.outputs, names, strict=False):
            value.name = name
        content: bytes = program.model_proto.SerializeToString()
    except PolicyError:
        raise
    except Exception as error:  # whatever a translation raises
        raise PolicyError(f"policy: cannot be written as ONNX: {in_one_line(error)}; try .pt2") from error
    return content


def _exported(policy: EvolvedPolicy) -> torch.export.ExportedProgram:
    space = policy.observation_space
    observation = torch.from_numpy(np.zeros((1, *space.shape), space.dtype))
    uniform = (torch.zeros(1),) if policy.actions.sampled else ()
    state = policy.initial_state()
    memory = () if state is None else (state,)
    instead = "its weights can, as .safetensors"
    if not all(isinstance(leaf, torch.Tensor) for leaf in torch.utils._pytree.tree_leaves(memory)):
        # A number would become part of the program.
        raise PolicyError(f"policy: cannot be written as a program: its state holds more than tensors; {instead}")
    try:
        return torch.export.export(Program(policy), (observation, *uniform, *memory), strict=False)
    except Exception as error:  # whatever a network does that cannot be traced
        raise PolicyError(f"policy: cannot be written as a program: {in_one_line(error)}; {instead}") from error


_WRITERS = {".safetensors": _safetensors, ".pt2": _pt2, ".onnx": _onnx}
