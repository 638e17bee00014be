"""The cost of a child's parameters against one `torch.add`, for short and for long genomes, 4 million parameters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from gadask.config import PRESETS, NoiseConfig
from gadask.genomes.noise import NoiseTable
from gadask.genomes.weights import as_tensor, decode
from gadask.master.task import prepare_task


def measure(rounds: int = 200) -> dict[str, float]:
    """Return milliseconds per child and medians of ratios over rounds in which all three take turns."""
    torch.set_num_threads(1)
    n_params = prepare_task(PRESETS["such2017"]).n_params
    rng = np.random.default_rng(0)
    with NoiseTable.generate(NoiseConfig(size=100_000_000)) as noise, torch.inference_mode():
        parents = torch.zeros(3, n_params)
        out = torch.zeros(n_params)
        genes = rng.integers(noise.config.size - n_params, size=(rounds, 3)).tolist()
        genomes = {n: tuple(rng.integers(noise.config.size - n_params, size=n).tolist()) for n in (10, 1000)}
        times: dict[str, list[float]] = {"torch.add": [], "10 genes": [], "1000 genes": []}
        for add, short, long in genes:
            samples = as_tensor(noise.slice(add, n_params))
            times["torch.add"].append(_ms(partial(torch.add, parents[0], samples, alpha=0.002, out=out)))
            for row, (n, gene) in enumerate(((10, short), (1000, long)), start=1):
                child = (*genomes[n][: n - 1], gene)
                make = partial(_from_parent, out, child, noise, parents[row], n - 1)
                times[f"{n} genes"].append(_ms(make))
    return {
        **{f"{name}, ms": statistics.median(values) for name, values in times.items()},
        "1000 genes / 10 genes": _ratio(times["1000 genes"], times["10 genes"]),
        "1000 genes / torch.add": _ratio(times["1000 genes"], times["torch.add"]),
    }


def _from_parent(
    out: torch.Tensor, child: tuple[int, ...], noise: NoiseTable, parent: torch.Tensor, n_genes: int
) -> None:
    """Make a child as a node does, which sends its processes the genes that the parent lacks."""
    decode(out, child[n_genes:], noise, _never, 0.002, parent)


def _never(noise: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a child is made from its parent's weights")


def _ms(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
