"""The weights of a run's genome, outside of a node: for films, modules and tests."""

from __future__ import annotations

import functools
from pathlib import Path

from gadask.algorithms import make_algorithm
from gadask.config import Config
from gadask.genomes.anchors import FOLDER, read_anchor
from gadask.genomes.genome import Genome, check_genes, count_genes
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode
from gadask.play.lanes import FirstLane
from gadask.policies import Policy


def load_genome(network: Policy | FirstLane, genome: Genome, config: Config, run_dir: Path | str) -> None:
    """Fill a network with the weights that a genome has in a run.

    Raises `GenomeError` if the genome cannot be one of the run's: a noise index beyond the table, an anchor that is not
    there.
    """
    n_params = network.flat.numel()
    check_genes(genome, count_genes(config.noise.size, n_params))
    anchor = functools.partial(read_anchor, Path(run_dir) / FOLDER, n_params=n_params)
    step_weight = make_algorithm(config).step_weight
    decode(network.flat, genome, LazyNoise(config.noise), network.initialise, step_weight, anchor=anchor)
