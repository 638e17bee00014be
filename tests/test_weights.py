"""Decoding is the same bits along every way to a genome: from the start, from any ancestor, on a node."""

from __future__ import annotations

from random import Random

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gadask.config import NoiseConfig, PolicyConfig
from gadask.errors import GenomeError
from gadask.genomes.genome import Genome
from gadask.genomes.noise import CHUNK, LazyNoise
from gadask.genomes.weights import as_tensor, decode, mutate
from gadask.node.ancestors import AncestorCache
from gadask.policies import Policy, make_policy
from tests.genomes import child_genome, draw_child

POWER = 0.02
NOISE = LazyNoise(NoiseConfig(seed=5, size=CHUNK + 1000))  # most slices near its end cross a chunk
MAX_PARAMS = 150
GENES = st.integers(0, NOISE.config.size - MAX_PARAMS) | st.integers(CHUNK - MAX_PARAMS, CHUNK)


def small_policy() -> Policy:
    spaces = gymnasium.spaces
    return make_policy(PolicyConfig("mlp", {"hidden": "4"}), spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2))


def scaled(noise: torch.Tensor) -> torch.Tensor:
    return noise * 0.3


def decoded(genome: Genome, n_params: int) -> torch.Tensor:
    out = torch.full((n_params,), torch.nan)
    decode(out, genome, NOISE, scaled, POWER)
    return out


@given(st.lists(GENES, min_size=1, max_size=12).map(tuple), st.integers(1, MAX_PARAMS), st.integers(0, 9), st.data())
@settings(deadline=None)
def test_any_chain_of_ancestors_gives_the_same_bits(
    genome: Genome, n_params: int, offset: int, data: st.DataObject
) -> None:
    lengths = sorted(data.draw(st.sets(st.integers(1, len(genome)))) | {len(genome)})
    ancestor, ancestor_length = None, 0
    for length in lengths:
        # Weights start at any multiple of 4 bytes: the kernel's vectors must not see a difference.
        out = torch.full((n_params + offset,), torch.nan)[offset:]
        kept = None if ancestor is None else ancestor.clone()
        decode(out, genome[ancestor_length:length], NOISE, scaled, POWER, ancestor)
        assert ancestor is None or (kept is not None and torch.equal(ancestor, kept))
        ancestor, ancestor_length = out, length
    assert ancestor is not None
    assert torch.equal(ancestor, decoded(genome, n_params))
    copy = torch.full((n_params,), torch.nan)
    decode(copy, (), NOISE, scaled, POWER, ancestor)
    assert torch.equal(copy, ancestor)


@given(st.lists(GENES, max_size=8).map(tuple), GENES, st.integers(1, MAX_PARAMS))
@settings(deadline=None)
def test_a_mutated_parent_is_the_decoded_child(parent: Genome, gene: int, n_params: int) -> None:
    child = (*parent, gene)
    out = torch.full((n_params,), torch.nan)
    if parent:
        mutate(out, decoded(parent, n_params), NOISE, gene, POWER)
    else:
        decode(out, child, NOISE, scaled, POWER)
    assert torch.equal(out, decoded(child, n_params))


@given(st.lists(GENES, min_size=1, max_size=6).map(tuple))
def test_weights_are_the_sum_that_the_paper_gives(genome: tuple[int, ...]) -> None:
    n_params = 100
    expected = 0.3 * NOISE.slice(genome[0], n_params).astype(np.float64)
    for gene in genome[1:]:
        expected += POWER * NOISE.slice(gene, n_params).astype(np.float64)
    np.testing.assert_allclose(decoded(genome, n_params).numpy(), expected, rtol=0, atol=2e-6)


def test_the_initial_network_is_scaled_by_fan_in_and_the_output_layer_by_a_tenth_of_that() -> None:
    policy = small_policy()
    assert policy.n_params == 3 * 4 + 4 + 4 * 2 + 2
    decode(policy.flat, (77,), NOISE, policy.initialise, POWER)
    scales = [3**-0.5] * 12 + [0.0] * 4 + [0.1 * 4**-0.5] * 8 + [0.0] * 2
    expected = NOISE.slice(77, policy.n_params) * np.array(scales)
    np.testing.assert_allclose(policy.flat.numpy(), expected, rtol=1e-6, atol=0)


def test_a_mutation_moves_every_parameter_alike() -> None:
    policy = small_policy()
    decode(policy.flat, (77,), NOISE, policy.initialise, POWER)
    parent = policy.flat.clone()
    policy.mutate(parent, NOISE, 500, POWER)
    np.testing.assert_allclose(policy.flat - parent, POWER * NOISE.slice(500, policy.n_params), rtol=0, atol=1e-7)


def test_a_genome_without_genes_is_an_error() -> None:
    with pytest.raises(GenomeError, match="expected a noise index or an available anchor first"):
        decoded((), 5)


@pytest.mark.parametrize("genome", [(-1,), (0, -1), (NOISE.config.size - 4,), (0, 1, NOISE.config.size - 4)])
def test_a_gene_outside_the_table_is_an_error(genome: Genome) -> None:
    with pytest.raises(GenomeError, match=r"^noise slice: expected an index of 0 to"):
        decoded(genome, 5)


def test_a_tensor_shares_the_noise() -> None:
    samples = NOISE.slice(0, 5)
    assert not samples.flags.writeable
    assert as_tensor(samples).data_ptr() == samples.ctypes.data


class SmallNode:
    """What a node and its players do with weights, in one thread: a cache, its rows, one policy."""

    def __init__(self, n_rows: int, random: Random) -> None:
        """Start with rows that hold NaN."""
        self.cache = AncestorCache(n_rows)
        self.policy = small_policy()
        self.weights = torch.full((n_rows, self.policy.n_params), torch.nan)
        self._random = random

    def ready(self, genomes: list[Genome]) -> None:
        """Decode what is missing, in some order, and pin everything."""
        decodings = self.cache.plan(genomes)
        self._random.shuffle(decodings)
        for decoding in decodings:
            ancestor = self.weights[decoding.ancestor_row] if decoding.ancestor_row >= 0 else None
            out = self.weights[decoding.row]
            decode(out, decoding.missing_parts, NOISE, self.policy.initialise, POWER, ancestor)
        self.cache.pin(genomes)

    def child(self, parents: list[Genome], row: int, gene: int) -> torch.Tensor:
        """Return a child's weights as a player makes them."""
        if row < 0:
            decode(self.policy.flat, (gene,), NOISE, self.policy.initialise, POWER)
        else:
            self.policy.mutate(self.weights[self.cache[parents[row]]], NOISE, gene, POWER)
        return self.policy.flat.clone()


@pytest.mark.parametrize("seed", range(3))
def test_a_node_of_many_generations_and_a_late_joiner_have_the_bits_of_scratch(seed: int) -> None:
    random = Random(seed)
    n_parents, n_generations = 4, 12
    early, late = (SmallNode(4 * n_parents, random) for _ in range(2))
    n_genes = NOISE.config.size - early.policy.n_params + 1
    scratch = small_policy()

    def from_scratch(genome: Genome) -> torch.Tensor:
        decode(scratch.flat, genome, NOISE, scratch.initialise, POWER)
        return scratch.flat

    parents: list[Genome] = []
    played: list[Genome] = []
    for generation in range(n_generations):
        nodes = [early, late] if generation in (0, 5, 6, 11) else [early]  # the late one misses generations
        for node in nodes:
            node.ready(parents)
        children = [draw_child(seed, generation, slot, parents, n_genes) for slot in range(10)]
        genomes = [child_genome(parents, row, gene) for row, gene in children]
        for node in nodes:
            for (row, gene), genome in zip(children, genomes, strict=True):
                assert torch.equal(node.child(parents, row, gene), from_scratch(genome))
            # The generation before may still be played; its weights must not have been overwritten.
            for genome in [*parents, *(played if node is early else [])]:
                assert torch.equal(node.weights[node.cache[genome]], from_scratch(genome))
        early.cache.unpin(played)
        if late in nodes:
            late.cache.unpin(parents)
        played, parents = parents, random.sample(genomes, n_parents - 1) + random.sample(parents, min(1, len(parents)))
    assert max(map(len, parents)) > n_generations // 2
