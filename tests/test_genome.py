"""Genomes and their text, children, and the ancestor cache against a model that really fills rows."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gadask.errors import ConfigError, GenomeError
from gadask.genomes.genome import Genome, count_genes, draw_children, from_json, from_text, split_text, to_json, to_text
from gadask.node.ancestors import AncestorCache, Decoding
from tests.genomes import GENOMES, draw_child

ANCHOR = "0123456789abcdef" * 2
UNIVERSE: list[Genome] = [genome for length in range(1, 5) for genome in product((0, 1), repeat=length)]


@given(GENOMES)
def test_a_genome_survives_its_text(genome: Genome) -> None:
    assert from_text(to_text(genome)) == genome


@given(GENOMES)
def test_a_genome_survives_json(genome: Genome) -> None:
    assert from_json(json.loads(json.dumps(to_json(genome)))) == genome


@given(GENOMES)
def test_a_text_is_split_where_its_parts_are_joined(genome: Genome) -> None:
    parts = split_text(to_text(genome))
    assert len(parts) == len(genome)
    assert "-".join(parts) == to_text(genome)


def test_text_is_indices_joined_by_hyphens() -> None:
    assert to_text((17, 0, 4042)) == "17-0-4042"


def test_text_of_an_anchor_and_of_steps_with_weights() -> None:
    assert to_text((ANCHOR, (88, -0.01), 4042, (7, 1e-05))) == f"@{ANCHOR}-88*-0.01-4042-7*1E-05"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-5",
        "5--3",
        "1-",
        " 1",
        "1 ",
        "+1",
        "1_0",
        "01",
        "1-02",
        "１",
        "a",
        "1.0",
        "1,2",
        "1\n",
        "9" * 5000,
        "1-\n2",
        "@",
        "@17",
        f"17-@{ANCHOR}",
        f"@{ANCHOR.upper()}",
        "17*0.5",
        "1-2*",
        "1-2*nan",
        "1-2*inf",
        "1-2*1",
        "1-2*0.50",
        "1-2*1e-05",
        "1--2*0.5",
        str(2**63),
    ],
)
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(GenomeError) as error:
        from_text(text)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 200
    assert repr(text[:80]) in message


@pytest.mark.parametrize(
    "document",
    [None, [], [[1, 0.5]], [-1], [True], [1, [2, 1]], [1, [2, 0.5, 3]], [1, ANCHOR], ["@" + ANCHOR], [1, [[2], 0.5]]],
)
def test_any_other_json_is_refused_in_one_line(document: object) -> None:
    with pytest.raises(GenomeError, match=r"^expected a list of noise indices, found .{1,80}$"):
        from_json(document)


@given(st.text("01-+_ \n٣"))
def test_a_genome_has_one_text(text: str) -> None:
    try:
        genome = from_text(text)
    except GenomeError:
        return
    assert to_text(genome) == text
    assert all(isinstance(gene, int) and gene >= 0 for gene in genome)


def test_genes_are_counted_up_to_the_end_of_the_table() -> None:
    assert count_genes(10, 3) == 8
    assert count_genes(10, 10) == 1


def test_a_table_shorter_than_the_policy_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"^noise\.size: expected at least the policy's 11 parameters, found 10$"):
        count_genes(10, 11)


@given(
    st.integers(0, 2**63 - 1), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 2**40)
)
def test_a_child_is_drawn_in_range(run_seed: int, generation: int, slot: int, n_parents: int, n_genes: int) -> None:
    parents = [(i,) for i in range(n_parents)]
    row, gene = draw_child(run_seed, generation, slot, parents, n_genes)
    assert 0 <= row < n_parents
    assert 0 <= gene < n_genes
    assert draw_child(run_seed, generation, slot, [], n_genes) == (-1, gene)


def test_all_parents_and_genes_are_drawn() -> None:
    drawn = [draw_child(3, 1, slot, [(0,), (1,), (2,)], 5) for slot in range(300)]
    assert set(drawn) == set(product(range(3), range(5)))


@given(st.integers(0, 2**62), st.integers(0, 2**31 - 1), st.integers(0, 30), st.integers(1, 2**33))
def test_many_children_are_drawn_as_one_is(run_seed: int, generation: int, n_parents: int, n_genes: int) -> None:
    parents = [(i,) for i in range(n_parents)]
    slots = [0, 1, 2, 3, 7, 1000, 2**31 - 1]
    rows, genes = draw_children(run_seed, generation, np.array(slots), n_parents, n_genes)
    drawn = [draw_child(run_seed, generation, slot, parents, n_genes) for slot in slots]
    assert list(zip(rows.tolist(), genes.tolist(), strict=True)) == drawn


class CacheAgainstRows(RuleBasedStateMachine):
    """Every row holds the genome that a decoding really wrote; a decoding that reads anything else is caught."""

    @initialize(n_rows=st.integers(1, 10))
    def start(self, n_rows: int) -> None:
        """Begin with rows that hold nothing."""
        self.cache = AncestorCache(n_rows)
        self.contents: list[Genome | None] = [None] * n_rows
        self.pins: Counter[Genome] = Counter()

    def cached(self) -> dict[Genome, int]:
        """Return the row of every genome that the cache says it has."""
        return {genome: self.cache[genome] for genome in UNIVERSE if genome in self.cache}

    def plan(self, wanted: list[Genome]) -> list[Decoding] | None:
        """Plan and check everything that can be said before the decodings run; None where there was no room."""
        before = self.cached()
        missing = set(wanted) - before.keys()
        prefixes = {genome: [genome[:n] for n in range(1, len(genome)) if genome[:n] in before] for genome in missing}
        protected = {*wanted, *self.pins, *(found[-1] for found in prefixes.values() if found)}
        if len(missing) > len(self.contents) - len(protected & before.keys()):
            with pytest.raises(GenomeError, match=r"^weights: expected room for \d+ more genomes?, found \d+ of"):
                self.cache.plan(wanted)
            assert self.cached() == before
            return None
        decodings = self.cache.plan(wanted)
        after = self.cached()
        assert {decoding.genome for decoding in decodings} == missing
        assert len(decodings) == len(missing)
        assert after.keys() >= protected
        assert all(after[genome] == before[genome] for genome in after.keys() & before.keys())
        for decoding in decodings:
            found = prefixes[decoding.genome]
            assert decoding.row == after[decoding.genome]
            assert decoding.ancestor_length == (len(found[-1]) if found else 0)
            assert decoding.ancestor_row == (before[found[-1]] if found else -1)
        written = {decoding.row for decoding in decodings}
        assert written.isdisjoint(decoding.ancestor_row for decoding in decodings)
        assert written.isdisjoint(before[genome] for genome in protected & before.keys())
        return decodings

    @rule(wanted=st.lists(st.sampled_from(UNIVERSE), max_size=8), data=st.data())
    def decode(self, wanted: list[Genome], data: st.DataObject) -> None:
        """Run a plan's decodings in some order."""
        for decoding in data.draw(st.permutations(self.plan(wanted) or [])):
            if decoding.ancestor_row >= 0:
                assert self.contents[decoding.ancestor_row] == decoding.genome[: decoding.ancestor_length]
            self.contents[decoding.row] = decoding.genome

    @rule(wanted=st.lists(st.sampled_from(UNIVERSE), max_size=8))
    def fail(self, wanted: list[Genome]) -> None:
        """Have the decodings of a plan fail."""
        decodings = self.plan(wanted) or []
        for decoding in decodings:
            self.contents[decoding.row] = None
        self.cache.forget([decoding.genome for decoding in decodings])
        assert not any(decoding.genome in self.cache for decoding in decodings)

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        """Pin some of what is cached."""
        genomes = data.draw(st.lists(st.sampled_from([*self.cached()]), unique=True) if self.cached() else st.just([]))
        self.cache.pin(genomes)
        self.pins.update(genomes)

    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        """Take back some pins."""
        genomes = data.draw(st.lists(st.sampled_from([*self.pins]), unique=True) if self.pins else st.just([]))
        self.cache.unpin(genomes)
        self.pins -= Counter(genomes)

    @invariant()
    def rows_hold_what_the_cache_says(self) -> None:
        """No cached genome was overwritten, and no two share a row."""
        assert all(self.contents[row] == genome for genome, row in self.cached().items())
        assert self.pins.keys() <= self.cached().keys()


CacheAgainstRows.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
test_cache_against_rows = CacheAgainstRows.TestCase


def test_the_genome_planned_longest_ago_makes_room() -> None:
    cache = AncestorCache(3)
    cache.plan([(1,), (2,), (3,)])
    cache.plan([(1,)])
    assert [decoding.row for decoding in cache.plan([(4,)])] == [1]
    assert [genome in cache for genome in [(1,), (2,), (3,), (4,)]] == [True, False, True, True]


def test_the_lowest_rows_are_used_first() -> None:
    assert [decoding.row for decoding in AncestorCache(9).plan([(1,), (2,), (1,)])] == [0, 1]


def test_a_pin_lasts_until_it_is_taken_back_as_often() -> None:
    cache = AncestorCache(1)
    cache.plan([(1,)])
    cache.pin([(1,)])
    cache.pin([(1,)])
    cache.unpin([(1,)])
    with pytest.raises(GenomeError, match="expected room for 1 more genome, found 0 of 1 row "):
        cache.plan([(2,)])
    cache.unpin([(1,)])
    assert cache.plan([(2,)]) == [Decoding((2,), 0, -1, 0)]


def test_a_plan_that_fails_promises_no_weights() -> None:
    cache = AncestorCache(2)
    with pytest.raises(GenomeError):
        cache.plan([(1,), (2,), (3,)])
    assert not any(genome in cache for genome in [(1,), (2,), (3,)])
    assert len(cache.plan([(1,), (2,)])) == 2
