"""Anchors: weights that are stored as numbers, because no noise gives them.

An anchor is a float32 vector of all parameters. It lies in the run directory as `anchors/DIGEST.safetensors`, which any
reader of safetensors opens, with the one tensor `parameters`; a genome names it by its digest. A node reads it when it
first decodes a genome that begins with it, so that the run directory must lie where all nodes see it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gadask.errors import GenomeError

FOLDER = "anchors"
"""Name of their folder in a run directory."""

_NAME = "parameters"


def anchor_digest(weights: NDArray[np.float32]) -> str:
    """Return what names these weights: 32 hexadecimal digits of the SHA-256 of their bytes, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(weights, "<f4").tobytes()).hexdigest()[:32]


def anchor_path(folder: Path | str, digest: str) -> Path:
    """Return the file of an anchor in the folder of a run's anchors."""
    return Path(folder) / f"{digest}.safetensors"


def anchor_content(weights: NDArray[np.float32]) -> bytes:
    """Return the content of an anchor's file."""
    return save({_NAME: np.ascontiguousarray(weights, np.float32)})


def read_anchor(folder: Path | str, digest: str, n_params: int) -> NDArray[np.float32]:
    """Return an anchor's weights, float32, shape `(n_params,)`.

    Raises:
        GenomeError: the file is missing, damaged, or of another network.
    """
    path = anchor_path(folder, digest)
    try:
        weights = load(path.read_bytes())[_NAME]
    except OSError as error:
        raise GenomeError(
            f"{path}: cannot read this anchor: {error.strerror}; all nodes must see the run directory"
        ) from None
    except (SafetensorError, LookupError):
        raise GenomeError(f"{path}: damaged: expected a safetensors file with a tensor {_NAME!r}") from None
    if weights.shape != (n_params,) or weights.dtype != np.float32 or anchor_digest(weights) != digest:
        raise GenomeError(f"{path}: damaged: expected {n_params} float32 parameters with the digest {digest}")
    return weights
