"""What generation 0 begins with: `start.from`, a run's genome, a genome's text, or a file of weights.

A text is a genome of the new run as it stands. Anything else becomes an anchor, weights in the new run's directory, so
that a run never depends on another one's directory, noise or settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gadask.config import Config
from gadask.errors import ConfigError, GadaskError, GenomeError, RunDirectoryError
from gadask.genomes.anchors import anchor_digest
from gadask.genomes.genome import Genome, check_genes, count_genes, from_text, is_update, stored_parts, to_text
from gadask.master.evaluate import choose_genome
from gadask.messages import Task
from gadask.observations import Moments
from gadask.record.directory import State, holds_run, read_run

if TYPE_CHECKING:
    import torch

    from gadask.policies import Policy


_EXPECTED = "a run directory (RUN_DIR, RUN_DIR:last), a genome such as '17-4042', or a file of weights (.safetensors)"


@dataclass(frozen=True)
class Start:
    """What a run begins with. The default is new networks."""

    first: Genome = ()
    """The genome that children of generation 0 are made from."""
    anchor: NDArray[np.float32] | None = None
    """The weights of the anchor that it begins with, if it begins with one."""
    observations: Moments = field(default_factory=Moments)
    """What was observed before, with `policy.normalise`."""


def find_start(config: Config, n_params: int) -> Start:
    """Return what `start.from` names; `n_params` are the policy's parameters.

    Raises `ConfigError` where it names nothing, or weights of another network.
    """
    text = config.start.from_
    if not text:
        return Start()
    folder, colon, which = text.rpartition(":")
    try:
        if genome := _genome_of(text):
            _check_own(genome, count_genes(config.noise.size, n_params))
            return Start(genome)
        if colon and _holds_run(folder):
            return _of_run(config, Path(folder), which)
        if _holds_run(text):
            return _of_run(config, Path(text), "best")
        if text.endswith(".safetensors"):
            return _of_weights(text, _read_weights(config, Path(text)))
        raise GenomeError(f"expected {_EXPECTED}, found {text[:80]!r}")
    except GadaskError as error:
        raise ConfigError(f"start.from: {error}") from error


def first_state(task: Task, start: Start) -> State:
    """Return the state before generation 0 of a run that begins with `start`."""
    algorithm = task.algorithm
    return State(
        algorithm=algorithm.to_json(algorithm.start(start.first, task.n_genes)), observations=start.observations
    )


def _genome_of(text: str) -> Genome:
    """Return the genome that a text is; an empty one where it is none."""
    try:
        return from_text(text)
    except GenomeError:
        return ()


def _holds_run(folder: str) -> bool:
    """Whether there is a run; not where the text cannot be a path, being too long."""
    try:
        return holds_run(folder)
    except RunDirectoryError:
        return False


def _check_own(genome: Genome, n_genes: int) -> None:
    """Raise `GenomeError` for a genome that cannot be one of the new run's."""
    if foreign := stored_parts(genome):
        text, what = to_text(genome), "an update" if is_update(foreign[0]) else "an anchor"
        raise GenomeError(f"{text[:80]!r} has {what} of another run; write RUN_DIR:{text[:20]}…")
    check_genes(genome, n_genes)


def _of_run(config: Config, run_dir: Path, which: str) -> Start:
    from gadask.play.loading import load_genome, new_policy

    theirs, state = read_run(run_dir)
    if theirs.policy.normalise != config.policy.normalise:
        expected, found = (str(one.policy.normalise).lower() for one in (theirs, config))
        raise ConfigError(f"expected policy.normalise = {expected}, as in {run_dir}, found {found}")
    policy = new_policy(theirs)
    _expect_alike(f"{run_dir}", policy.module.state_dict(), new_policy(config))
    load_genome(policy, choose_genome(run_dir, which), theirs, run_dir)
    return _of_weights(f"{run_dir}", policy.flat.numpy().copy(), state.observations)


def _of_weights(where: str, weights: NDArray[np.float32], observations: Moments | None = None) -> Start:
    if not np.isfinite(weights).all():
        raise ConfigError(f"{where}: expected finite weights, found others")
    return Start((anchor_digest(weights),), weights, observations or Moments())


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
    if config.policy.normalise or {"mean", "scale"} <= tensors.keys():
        raise ConfigError(f"{path}: a file does not say how observations are normalised; write RUN_DIR")
    tensors = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
    policy = new_policy(config)
    _expect_alike(str(path), tensors, policy)
    with torch.no_grad():
        policy.module.load_state_dict(tensors)
    return policy.flat.numpy().copy()


def _expect_alike(where: str, tensors: Mapping[str, torch.Tensor], policy: Policy) -> None:
    """Raise `ConfigError` at the first tensor that is missing, superfluous or of another shape.

    So at the first that is no parameter, and differs from that of a new network: a genome cannot hold it. But what is
    measured on reference observations is measured again.
    """
    expected = policy.module.state_dict()
    for name in [*expected, *(name for name in tensors if name not in expected)]:
        one, other = (_described(found.get(name)) for found in (expected, tensors))
        if one != other:
            raise ConfigError(f"{where}: {name}: expected {one}, found {other}")
    for name, buffer in policy.module.named_buffers():
        if name in expected and not policy.reference_size and not buffer.equal(tensors[name]):
            raise ConfigError(f"{where}: {name} is no parameter, and differs from that of a new network")


def _described(tensor: torch.Tensor | None) -> str:
    return "no such tensor" if tensor is None else f"shape {tuple(tensor.shape)}"
