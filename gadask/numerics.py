"""What decides how an episode is computed: environment variables and threads; imports neither numpy nor torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def numeric_environment() -> dict[str, str]:
    """Return the environment in which genomes are played: what they compute must not depend on one node's shell.

    One thread for BLAS and OpenMP, which must be set before numpy or torch is imported (more threads than cores slowed
    a step twentyfold), and the CPU's own kernels rather than those that a variable forces on OpenBLAS or torch. Texts
    have the same `hash`, and sets of them the same order, in every process.
    """
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    forced = ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY")
    kept = {name: value for name, value in os.environ.items() if name not in forced}
    return {**kept, **dict.fromkeys(threads, "1"), "PYTHONHASHSEED": "0"}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute as rollout processes do: sums in another order could change an action."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
