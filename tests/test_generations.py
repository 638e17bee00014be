"""The generation log's lines: short in the file, whole for those who read them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.errors import RecordError
from gadask.genomes.genome import to_text
from gadask.record.generations import LOG, decode_line, encode_line, read_generations

genes = st.integers(0, 3)
genomes = st.builds(
    lambda trunk, branch: to_text((*trunk, *branch)),
    st.lists(genes, max_size=3),
    st.lists(genes, min_size=1, max_size=3),
)
json_values = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def line_of(parents: list[str], candidates: list[str], elite: str | None = "7-8") -> dict[str, Any]:
    return {
        "generation": 3,
        "parents": parents,
        "candidates": [{"genome": genome, "mean": 0.5, "episodes": 30} for genome in candidates],
        "elite": None if elite is None else {"genome": elite, "mean": 0.5},
    }


@given(st.lists(genomes, max_size=4), st.lists(genomes, max_size=4), st.none() | genomes)
def test_a_line_is_read_back_whole(parents: list[str], candidates: list[str], elite: str | None) -> None:
    line = line_of(parents, candidates, elite)
    assert decode_line(encode_line(line)) == line


def test_a_line_by_hand() -> None:
    line = line_of(["5-61", "5-6-1-2", "5-6-1-3"], [])
    assert json.loads(encode_line(line)) == {**line, "trunk": "5", "parents": ["61", "6-1-2", "6-1-3"]}
    line = line_of(["5-6", "5-6-7"], ["5-6-7-8"])
    assert json.loads(encode_line(line)) == {**line_of(["", "7"], ["7-8"]), "trunk": "5-6"}
    line = line_of(["5-6", "56"], [])
    assert json.loads(encode_line(line)) == {**line, "trunk": ""}


def test_lines_without_genomes_or_written_whole_are_taken_as_they_are() -> None:
    for line in ({"generation": 0, "parents": [], "candidates": []}, {"generation": 0, "best": 1.5}):
        assert json.loads(encode_line(line)) == line
    whole = line_of(["5-6", "5-7"], ["5-8"])
    assert decode_line(json.dumps(whole).encode()) == whole


def test_a_line_grows_by_one_genome_and_not_by_all() -> None:
    trunk = tuple(range(200_000_000, 200_001_000))
    parents = [to_text((*trunk, 7, slot)) for slot in range(20)]
    assert len(encode_line(line_of(parents, parents[:10], parents[0]))) < 2.2 * len(parents[0])


def test_the_file_is_readable_with_pandas(tmp_path: Path) -> None:
    lines = [line_of(["5-6-7", "5-6-8"], ["5-6-9"]), line_of(["5-6-7-1", "5-6-7-2"], ["5-6-7-3"])]
    (tmp_path / LOG).write_bytes(b"".join(map(encode_line, lines)) + b'{"torn')
    assert list(read_generations(tmp_path)) == lines
    (tmp_path / LOG).write_bytes(b"".join(map(encode_line, lines)))
    frame = pd.read_json(tmp_path / LOG, lines=True)
    assert [[row.trunk + "-" + branch for branch in row.parents] for row in frame.itertuples()] == [
        line["parents"] for line in lines
    ]


@pytest.mark.parametrize("text", [b"5", b"[]", b"{", b'{"parents": 5}', b'{"trunk": 5, "parents": ["1"]}', b"\xff"])
def test_a_damaged_line_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / LOG).write_bytes(b'{"generation": 0}\n' + text + b"\n")
    with pytest.raises(RecordError, match=r"generations\.jsonl: line 2 is damaged: expected JSON"):
        list(read_generations(tmp_path))


@given(st.dictionaries(st.sampled_from(["trunk", "parents", "candidates", "genome"]), json_values))
def test_damage_is_refused_or_read_and_never_anything_worse(line: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode_line(json.dumps(line).encode()), dict)
