"""What generation 0 begins with: `start.from`, a run's genome, a genome's text, or a file of weights.

A text is a genome of the new run as it stands. Anything else becomes an anchor, weights in the new run's directory, so
that a run never depends on another one's directory, noise or settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gadask.config import Config
from gadask.errors import ConfigError, GadaskError, GenomeError
from gadask.genomes.anchors import anchor_digest
from gadask.genomes.genome import Genome, check_genes, count_genes, from_text
from gadask.master.evaluate import choose_genome
from gadask.observations import Moments
from gadask.record.directory import holds_run, read_run

if TYPE_CHECKING:
    import torch


_EXPECTED = "a run directory (RUN_DIR, RUN_DIR:last), a genome such as '17-4042', or a file of weights (.safetensors)"


@dataclass(frozen=True)
class Start:
    """What a run begins with. The default is new networks."""

    origin: Genome = ()
    """The genome that children of generation 0 are made from."""
    anchor: NDArray[np.float32] | None = None
    """The weights of the anchor that it names, if it names one."""
    observations: Moments = field(default_factory=Moments)
    """What was observed before, with `policy.normalise`."""


_found: dict[str, Start] = {}
"""The last, by what decides it: a command checks it before it asks for nodes, and uses it then."""


def find_start(config: Config, n_params: int) -> Start:
    """Return what `start.from` names; `n_params` are the policy's parameters.

    Raises `ConfigError` where it names nothing, or weights of another network.
    """
    if not config.start.from_:
        return Start()
    key = repr((config.start, config.env, config.policy, config.noise))
    if key not in _found:
        start = _find(config, n_params)
        _found.clear()
        _found[key] = start
    return _found[key]


def _find(config: Config, n_params: int) -> Start:
    text = config.start.from_
    try:
        if holds_run(text):
            return _of_run(config, Path(text), "best")
        folder, colon, which = text.rpartition(":")
        if colon and holds_run(folder):
            return _of_run(config, Path(folder), which)
        if text.endswith(".safetensors"):
            weights = _read_weights(config, Path(text))
            return Start((anchor_digest(weights),), weights)
        return Start(_own_genome(text, count_genes(config.noise.size, n_params)))
    except GadaskError as error:
        raise ConfigError(f"start.from: {error}") from error


def _own_genome(text: str, n_genes: int) -> Genome:
    try:
        genome = from_text(text)
    except GenomeError:
        raise GenomeError(f"expected {_EXPECTED}, found {text!r}") from None
    if isinstance(genome[0], str):
        raise GenomeError(f"{text[:80]!r} begins with an anchor of another run; write RUN_DIR:{text[:20]}…")
    check_genes(genome, n_genes)
    return genome


def _of_run(config: Config, run_dir: Path, which: str) -> Start:
    from gadask.play.loading import load_genome, new_policy

    theirs, state = read_run(run_dir)
    if theirs.policy.normalise != config.policy.normalise:
        expected, found = (str(one.policy.normalise).lower() for one in (theirs, config))
        raise ConfigError(f"expected policy.normalise = {expected}, as in {run_dir}, found {found}")
    policy, own = new_policy(theirs), new_policy(config)
    _expect_shapes(f"{run_dir}", _shapes(policy.module.state_dict()), _shapes(own.module.state_dict()))
    load_genome(policy, choose_genome(run_dir, which), theirs, run_dir)
    weights = policy.flat.numpy().copy()
    return Start((anchor_digest(weights),), weights, state.observations)


def _read_weights(config: Config, path: Path) -> NDArray[np.float32]:
    """Return the parameters in a file, as `Run.export` writes it: a state dict, or one like it."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from gadask.play.loading import new_policy

    try:
        tensors = load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this file: {error.strerror}") from None
    except SafetensorError as error:
        raise ConfigError(f"{path}: expected a safetensors file: {error}") from None
    if {"mean", "scale"} <= tensors.keys():
        raise ConfigError(f"{path}: its observations are normalised, which a file says too little of; write RUN_DIR")
    tensors = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
    policy = new_policy(config)
    _expect_shapes(str(path), _shapes(tensors), _shapes(policy.module.state_dict()))
    buffers = dict(policy.module.named_buffers())
    for name, buffer in buffers.items():
        if not torch.equal(tensors.get(name, buffer), buffer):
            raise ConfigError(f"{path}: {name} is no parameter, and differs from that of a new network")
    with torch.no_grad():
        policy.module.load_state_dict(tensors, strict=False)
    return policy.flat.numpy().copy()


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _described(shape: tuple[int, ...] | None) -> str:
    return "no such tensor" if shape is None else f"shape {shape}"


def _expect_shapes(where: str, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    """Raise `ConfigError` at the first tensor that is missing, superfluous or of another shape."""
    for name in [*expected, *(name for name in found if name not in expected)]:
        if found.get(name) != expected.get(name):
            one, other = (_described(shapes.get(name)) for shapes in (expected, found))
            raise ConfigError(f"{where}: {name}: expected {one}, found {other}")
