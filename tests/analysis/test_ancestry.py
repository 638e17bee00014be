"""Family trees: against the genomes themselves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.analysis.ancestry import (
    NONE,
    ancestors,
    common_ancestor,
    common_ancestors,
    genome_text,
    read_lineage,
    trace,
)
from gadask.genomes.genome import to_text
from gadask.messages import Kind
from gadask.record.directory import read_generations, read_run
from gadask.record.frames import episode_frame
from tests.analysis.recorded import SWATCH, Players
from tests.generations import bases_of


def test_every_genome_of_the_log_stands_in_the_tree_once(recorded: dict[str, Path], synthetic: Path) -> None:
    for path in (recorded["swatch"], recorded["no candidates"], synthetic):
        lineage = read_lineage(path, episode_frame(path))
        texts = [genome_text(lineage.genomes, row) for row in lineage.genomes.index]
        assert len(set(texts)) == len(texts)
        lines = list(read_generations(path))
        named = {text for line in lines for text in line["parents"]}
        named |= {candidate["genome"] for line in lines for candidate in line["candidates"]}
        named |= {line["elite"]["genome"] for line in lines}
        named |= {to_text(genome) for genome in bases_of(*read_run(path))}
        assert set(texts) == named
        assert [len(text.split("-")) for text in texts] == lineage.genomes["length"].tolist()
        assert [[texts[row] for row in parents] for parents in lineage.parents[:-1]] == [
            line["parents"] for line in lines
        ]
        assert [texts[row] for row in lineage.elites] == [line["elite"]["genome"] for line in lines]


def test_scores_are_those_that_a_genome_played(recorded: dict[str, Path]) -> None:
    path = recorded["swatch"]
    lineage = read_lineage(path, episode_frame(path))
    players = Players(SWATCH)
    episodes = episode_frame(path)
    for row, genome in lineage.genomes.iterrows():
        text = genome_text(lineage.genomes, row)
        played = players.play(tuple(map(int, text.split("-"))), Kind.CHILD, genome["born"], _slot(episodes, genome), 0)
        assert genome["score"] == played["return"][0]
        assert genome["steps"] == played["steps"][0]
    evaluated: dict[str, list[float]] = {genome_text(lineage.genomes, row): [] for row in lineage.genomes.index}
    for line in read_generations(path):
        for candidate in line["candidates"]:
            evaluated[candidate["genome"]].append(candidate["mean"])
    for (_, genome), means in zip(lineage.genomes.iterrows(), evaluated.values(), strict=True):
        assert genome["evaluations"] == 3 * len(means)
        assert genome["mean"] == pytest.approx(np.mean(means)) if means else np.isnan(genome["mean"])
        assert genome["evaluation_steps"] == 40 if means else np.isnan(genome["evaluation_steps"])
    players.env.close()


def _slot(episodes: pd.DataFrame, genome: pd.Series) -> int:
    own = episodes[(episodes["gene"] == int(genome["part"])) & (episodes["generation"] == genome["born"])]
    return int(own["slot"].iloc[0])


def test_births_and_roles_are_those_of_the_log(synthetic: Path) -> None:
    lineage = read_lineage(synthetic, episode_frame(synthetic))
    genomes = lineage.genomes
    parents = genomes.iloc[genomes.loc[genomes["parent"] != NONE, "parent"]]
    children = genomes[genomes["parent"] != NONE]
    assert (children["born"].to_numpy() > parents["born"].to_numpy()).all()
    assert (genomes.loc[genomes["parent"] == NONE, "born"] == 0).all()
    assert genomes["score"].notna().all()
    for row, genome in genomes.iterrows():
        generations = [g for g, rows in enumerate(lineage.parents[:-1]) if row in rows]
        assert genome["last_parent"] == (generations[-1] if generations else NONE)
        assert genome["born"] == generations[0] - 1 if generations else True
        reigns = [g for g, elite in enumerate(lineage.elites) if elite == row]
        assert (genome["first_elite"], genome["last_elite"]) == ((reigns[0], reigns[-1]) if reigns else (NONE, NONE))


def test_the_log_alone_gives_the_tree_without_scores(run: Path) -> None:
    whole = read_lineage(run, episode_frame(run))
    shutil.rmtree(run / "episodes")
    alone = read_lineage(run, episode_frame(run))
    known = ["parent", "born", "part", "length", "mean", "evaluations", "last_parent", "first_elite", "last_elite"]
    pd.testing.assert_frame_equal(alone.genomes[known], whole.genomes[known])
    assert alone.genomes["score"].isna().all()


def test_a_child_admitted_late_is_found_where_it_was_played() -> None:
    rows = [(0, -1, 5, 1.0), (0, -1, 6, 2.0), (1, 1, 7, 3.0), (2, 0, 7, 9.0)]
    episodes = pd.DataFrame(rows, columns=["generation", "parent", "gene", "return"]).assign(
        kind="child", slot=0, steps=10, status="ok", counted=True, recorded_in=[0, 0, 2, 2]
    )
    # 6-7 was issued in generation 1 and counted in generation 2; its parent 6 is none any more by then.
    lines = [_line(0, [], "6"), _line(1, ["5", "6"], "6"), _line(2, ["5"], "5")]
    lineage = trace(lines, 3, ((6, 7), (5, 7)), episodes, 0.1)
    late, other = lineage.genomes.iloc[lineage.parents[-1][0]], lineage.genomes.iloc[lineage.parents[-1][1]]
    assert (late["born"], late["score"], late["parent"]) == (1, 3.0, lineage.parents[1][1])
    assert (other["born"], other["score"], other["parent"]) == (2, 9.0, lineage.parents[1][0])


def _line(generation: int, parents: list[str], elite: str, candidates: Sequence[Any] = ()) -> dict[str, Any]:
    return {"generation": generation, "parents": parents, "candidates": candidates, "elite": {"genome": elite}}


@pytest.mark.parametrize(("base", "n_parts"), [("17", 1), (f"@{'5' * 32}", 1), ("17-42", 2), ("17-42*-0.5", 2)])
def test_what_a_run_starts_from_is_a_founder_with_its_whole_text(base: str, n_parts: int) -> None:
    episodes = _children([(0, 0, 55, 0.1, 3.0), (1, 0, 7, 0.5, 4.0)])
    lines = [_line(0, [base], f"{base}-55"), _line(1, [f"{base}-55"], f"{base}-55-7*0.5")]
    lineage = trace(lines, 9, (), episodes, 0.1)
    genomes = lineage.genomes
    assert [genome_text(genomes, row) for row in genomes.index] == [base, f"{base}-55", f"{base}-55-7*0.5"]
    assert genomes["length"].tolist() == [n_parts, n_parts + 1, n_parts + 2]
    assert genomes["parent"].tolist() == [NONE, 0, 1]
    assert genomes["born"].tolist() == [0, 0, 1]
    assert genomes["score"].tolist()[1:] == [3.0, 4.0]


def test_the_halves_of_a_mirrored_pair_have_their_own_scores() -> None:
    episodes = _children([(0, -1, 5, 0.0, 1.0), (1, 0, 7, 0.1, 3.0), (1, 0, 7, -0.1, 9.0)])
    lines = [_line(0, [], "5"), _line(1, ["5"], "5-7*-0.1", [{"genome": "5-7", "mean": 3.0, "episodes": 1}])]

    def scores(episodes: pd.DataFrame) -> dict[str, float]:
        genomes = trace(lines, 9, (), episodes, 0.1).genomes
        return {genome_text(genomes, row): genomes["score"][row] for row in genomes.index}

    assert scores(episodes) == {"5": 1.0, "5-7": 3.0, "5-7*-0.1": 9.0}
    # Files of earlier versions have no weights, whether alone or beside others.
    for older in (episodes.drop(columns="weight"), episodes.assign(weight=np.nan)):
        assert scores(older) == {"5": 1.0, "5-7": 6.0, "5-7*-0.1": 6.0}


def test_a_candidate_without_a_mean_counts_nothing() -> None:
    candidates = [{"genome": "5", "mean": None, "episodes": 2}, {"genome": "6", "mean": 4.0, "episodes": 2}]
    genomes = trace([_line(0, [], "6", candidates)], 9, (), pd.DataFrame(), 0.1).genomes
    assert genomes["evaluations"].tolist() == [0, 2]
    assert np.isnan(genomes["mean"][0])
    assert genomes["mean"][1] == 4.0


def _children(rows: Sequence[tuple[int, int, int, float, float]]) -> pd.DataFrame:
    """Return the episodes of children: generation, parent, gene, weight, return."""
    columns = ["generation", "parent", "gene", "weight", "return"]
    return pd.DataFrame(rows, columns=columns).assign(
        kind="child", slot=range(len(rows)), steps=10, status="ok", counted=True, recorded_in=[row[0] for row in rows]
    )


def test_parents_stored_before_the_log_went_on_are_left_out(run: Path) -> None:
    shutil.copy(run / "checkpoint.previous.json", run / "checkpoint.json")
    lineage = read_lineage(run, episode_frame(run))
    assert [len(parents) for parents in lineage.parents] == [0, 3, 3, 0]
    assert len(common_ancestors(lineage)) == 2


def _beginning(sequences: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Return what all of them begin with."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))
    return tuple(column[0] for column in columns)


@given(st.data())
def test_the_common_ancestor_is_the_longest_common_beginning(data: st.DataObject) -> None:
    genomes: set[tuple[int, ...]] = {(0,), (1,)}
    for gene in range(2, data.draw(st.integers(2, 14))):
        genomes.add((*data.draw(st.sampled_from(sorted(genomes))), gene))
    rows = sorted(genomes, key=lambda genome: genome[-1])
    parent = [rows.index(genome[:-1]) if len(genome) > 1 else NONE for genome in rows]
    chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1))
    beginning = _beginning([rows[row] for row in chosen])
    expected = rows.index(beginning) if beginning else NONE
    assert common_ancestor(parent, chosen) == expected
    found = ancestors(pd.DataFrame({"parent": parent}), chosen)
    assert found == {rows.index(rows[row][:n]) for row in chosen for n in range(1, len(rows[row]) + 1)}


def test_common_ancestors_grow_older_or_younger_with_the_parents(synthetic: Path) -> None:
    lineage = read_lineage(synthetic, episode_frame(synthetic))
    frame = common_ancestors(lineage)
    assert frame["generation"].tolist() == list(range(1, 26))
    assert frame["back"].iloc[-1] >= 1
    for generation, born in zip(frame["generation"], frame["born"], strict=True):
        texts = [genome_text(lineage.genomes, row).split("-") for row in lineage.parents[generation]]
        beginning = _beginning(texts)
        if np.isnan(born):
            assert not beginning
        else:
            ancestor = "-".join(beginning)
            row = [genome_text(lineage.genomes, row) for row in lineage.genomes.index].index(ancestor)
            assert born == lineage.genomes["born"][row]
