"""Genomes with weighted steps and anchors, on their whole way: text, JSON, messages, the log, weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, NoiseConfig
from gadask.errors import GenomeError
from gadask.genomes.anchors import anchor_content, anchor_digest, anchor_path, read_anchor
from gadask.genomes.genome import Genome, check_genes, from_json, from_text, split_text, step, to_json, to_text, unfold
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode
from gadask.messages import pack_brood, unpack_brood
from gadask.record.generations import decode_line, encode_line
from tests.generations import task_of
from tests.genomes import GENOMES

NOISE = LazyNoise(NoiseConfig(seed=5, size=1000))
N_PARAMS = 7
POWER = 0.002


@given(GENOMES)
def test_a_genome_survives_text_and_json(genome: Genome) -> None:
    assert from_text(to_text(genome)) == genome
    assert "-".join(split_text(to_text(genome))) == to_text(genome)
    assert len(split_text(to_text(genome))) == len(genome)
    assert from_json(json.loads(json.dumps(to_json(genome)))) == genome


def test_how_steps_are_written() -> None:
    assert to_text((17, 4042, (88, -0.01), (5, 1e-05))) == "17-4042-88*-0.01-5*1E-05"
    assert to_text(("0123456789abcdef" * 2, 3)) == "@0123456789abcdef0123456789abcdef-3"


@pytest.mark.parametrize(
    "text",
    ["", "-", "17-", "17*0.5", "17-4*", "17-4*nan", "17-4*inf", "17-4*1e-5", "@12", "017", "+1", f"17-@{0:032}"],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(GenomeError, match="expected noise indices"):
        from_text(text)


@pytest.mark.parametrize(
    "document", [None, [], [[17, 0.5]], [17, [4]], [17, [4, 1]], [17, True], [17, "x"], ["x"], [-1]]
)
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(GenomeError):
        from_json(document)


def test_a_step_of_the_runs_own_weight_is_a_gene() -> None:
    assert step(4, POWER, POWER) == 4
    assert step(4, -POWER, POWER) == (4, -POWER)
    assert [unfold(one, POWER) for one in (4, (4, -POWER))] == [(4, POWER), (4, -POWER)]


def test_genes_beyond_the_table() -> None:
    check_genes((9, (9, 0.5)), 10)
    for genome in ((10,), (9, 10), (9, (10, 0.5))):
        with pytest.raises(GenomeError, match="below 10, found 10"):
            check_genes(genome, 10)


@given(st.lists(GENOMES, min_size=1, max_size=5))
def test_broods_and_the_log_carry_them(genomes: list[Genome]) -> None:
    brood = Brood(3, tuple(genomes[:2]), tuple(genomes[2:]))
    task = task_of(Config())
    assert unpack_brood(pack_brood(task, brood)) == (task, brood)
    line = {"parents": [to_text(genome) for genome in genomes], "candidates": []}
    assert decode_line(encode_line(line)) == line


def noise(gene: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(NOISE.slice(gene, N_PARAMS))


def decoded(genome: Genome, folder: Path = Path(), ancestor: torch.Tensor | None = None) -> torch.Tensor:
    out = torch.zeros(N_PARAMS)
    decode(
        out,
        genome,
        NOISE,
        lambda noise: noise * 2,
        POWER,
        ancestor,
        anchor=lambda digest: read_anchor(folder, digest, N_PARAMS),
    )
    return out


def test_steps_have_weight_and_sign() -> None:
    expected = torch.from_numpy(noise(17) * 2)
    for gene, weight in ((40, POWER), (88, -0.25), (40, -POWER)):
        expected = torch.add(expected, torch.from_numpy(noise(gene)), alpha=weight)
    genome: Genome = (17, 40, (88, -0.25), (40, -POWER))
    assert torch.equal(decoded(genome), expected)
    assert torch.equal(decoded(genome[2:], ancestor=decoded(genome[:2])), expected)
    there_and_back = decoded((17, (88, 0.5), (88, -0.5)))
    torch.testing.assert_close(there_and_back, decoded((17,)))


def test_an_anchor_is_where_a_genome_may_begin(tmp_path: Path) -> None:
    weights = np.arange(N_PARAMS, dtype=np.float32)
    digest = anchor_digest(weights)
    anchor_path(tmp_path, digest).write_bytes(anchor_content(weights))
    assert torch.equal(decoded((digest,), tmp_path), torch.from_numpy(weights))
    expected = torch.add(torch.from_numpy(weights), torch.from_numpy(noise(40)), alpha=POWER)
    assert torch.equal(decoded((digest, 40), tmp_path), expected)
    with pytest.raises(GenomeError, match="expected a step after the first part"):
        decoded((17, digest), tmp_path)


def test_a_wrong_anchor_is_refused(tmp_path: Path) -> None:
    weights = np.arange(N_PARAMS, dtype=np.float32)
    digest = anchor_digest(weights)
    path = anchor_path(tmp_path, digest)
    with pytest.raises(GenomeError, match="No such file or directory; all nodes must see the run directory"):
        decoded((digest,), tmp_path)
    for content in (b"", anchor_content(weights + 1), anchor_content(weights[:3]), anchor_content(weights)[:-1]):
        path.write_bytes(content)
        with pytest.raises(GenomeError, match="damaged"):
            decoded((digest,), tmp_path)
