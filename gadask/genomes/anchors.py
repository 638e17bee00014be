"""Anchors: weights that are stored as numbers, because no noise gives them.

An anchor is a float32 vector of all parameters. It lies in the run directory as `anchors/DIGEST.safetensors`, which any
reader of safetensors opens, with the tensor `parameters`, and `optimiser` where an optimiser goes on from it; a genome
names it by its digest. A node reads it when it first decodes a genome that begins with it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gadask.errors import GenomeError
from gadask.units import many

FOLDER = "anchors"
"""Name of their folder in a run directory."""

_PARAMETERS, _OPTIMISER = "parameters", "optimiser"


def anchor_digest(vectors: NDArray[np.float32]) -> str:
    """Return what names an anchor: 32 hexadecimal digits of the SHA-256 of its bytes, little-endian.

    `vectors` are its parameters, shape `(n_params,)`, or those and the optimiser's vectors in rows behind them.
    """
    return hashlib.sha256(np.ascontiguousarray(vectors, "<f4").tobytes()).hexdigest()[:32]


def anchor_path(folder: Path | str, digest: str) -> Path:
    """Return the file of an anchor in the folder of a run's anchors."""
    return Path(folder) / f"{digest}.safetensors"


def anchor_content(vectors: NDArray[np.float32]) -> bytes:
    """Return the content of an anchor's file; `vectors` as for `anchor_digest`."""
    rows = np.ascontiguousarray(np.atleast_2d(vectors), np.float32)
    return save({_PARAMETERS: rows[0], **({_OPTIMISER: rows[1:].copy()} if len(rows) > 1 else {})})


def read_anchor(folder: Path | str, digest: str, n_params: int) -> NDArray[np.float32]:
    """Return an anchor's parameters, float32, shape `(n_params,)`; raises as `read_vectors` does."""
    parameters: NDArray[np.float32] = read_vectors(folder, digest, n_params, 0)[0]
    return parameters


def read_vectors(folder: Path | str, digest: str, n_params: int, n_vectors: int) -> NDArray[np.float32]:
    """Return an anchor's vectors, float32, shape `(1 + n_vectors, n_params)`, the parameters first.

    Those of the optimiser are zeros where the anchor has none.

    Raises:
        GenomeError: the file is missing, damaged, or of another network.
    """
    path = anchor_path(folder, digest)
    try:
        tensors = load(path.read_bytes())
        rows = np.atleast_2d(tensors[_PARAMETERS])
    except OSError as error:
        raise GenomeError(
            f"{path}: cannot read this anchor: {error.strerror}; all nodes must see the run directory"
        ) from None
    except (SafetensorError, LookupError):
        raise GenomeError(f"{path}: damaged: expected a safetensors file with a tensor {_PARAMETERS!r}") from None
    kept = tensors.get(_OPTIMISER, np.zeros((0, n_params), np.float32))
    is_whole = rows.shape == (1, n_params) and kept.ndim == 2 and kept.shape[1] == n_params
    if not is_whole or anchor_digest(whole := np.concatenate([rows, kept])) != digest or whole.dtype != np.float32:
        raise GenomeError(f"{path}: damaged: expected {n_params} float32 parameters with the digest {digest}")
    if len(kept) not in (0, n_vectors) and n_vectors:
        raise GenomeError(f"{path}: expected {many(n_vectors, 'vector')} of the optimiser, found {len(kept)}")
    vectors = np.zeros((1 + n_vectors, n_params), np.float32)
    vectors[: len(whole)] = whole[: len(vectors)]
    return vectors
